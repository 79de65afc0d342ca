"""Draws ``workflows/*.jpg``, the template browser's cards: ``make_thumbnails.py [name ...]``.

The host's page shows ``<name>.jpg`` beside ``<name>.json``, cut to a square, with a badge in the
upper left corner. All pictures are drawn here, but those of the tiny model, which are its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PACK = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PACK))

SIZE = (512, 512)
FINE = 2  # drawn larger, then made smaller: smooth edges
QUALITY = 86
NIGHT, INK, PALE, GOLD, TEAL = "#15181f", "#eef1f6", "#93a0b4", "#e0a83c", "#4fb3a5"
SKIES = (
    ((250, 178, 120), (120, 120, 170)),
    ((246, 205, 150), (130, 160, 190)),
    ((190, 225, 240), (90, 150, 205)),
    ((205, 232, 242), (110, 170, 215)),
)
SEA = (44, 92, 128)


def gradient(size: tuple[int, int], bottom, top) -> Image.Image:
    mix = np.linspace(0, 1, size[1])[:, None, None]
    rows = np.array(top) * (1 - mix) + np.array(bottom) * mix
    return Image.fromarray(np.broadcast_to(rows, (size[1], size[0], 3)).astype(np.uint8))


def woman(draw: ImageDraw.ImageDraw, x: float, y: float, h: float, sits: bool = False) -> None:
    """Mara, her feet at (x, y): copper hair, glasses, mustard raincoat."""
    head, w = h * 0.15, h * 0.2
    top = y - h * (0.72 if sits else 1)
    if not sits:
        for side in (-1, 1):
            foot = x + side * w * 0.4
            draw.line((foot, y, foot, y - h * 0.3), fill="#2b3448", width=max(2, int(h * 0.07)))
    hem = y if sits else y - h * 0.22
    coat = (x - w, hem, x - w * 0.5, top + head * 1.7, x + w * 0.5, top + head * 1.7, x + w, hem)
    draw.polygon(coat, fill="#d9a02f")
    box = (x - head, top, x + head, top + head * 2)
    draw.ellipse(box, fill="#efc9a4")
    draw.pieslice((box[0] - 2, box[1] - 3, box[2] + 2, box[3] - 1), 165, 375, fill="#b4552a")
    for side in (-1, 1):
        eye = x + side * head * 0.42
        r = head * 0.34
        lens = (eye - r, top + head - r * 0.4, eye + r, top + head + r * 1.6)
        draw.ellipse(lens, outline="#39302b", width=max(1, int(h * 0.016)))


def terrier(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    """Pip, his paws at (x, y): grey, one white ear."""
    grey = "#8d8f96"
    for leg in (-0.55, 0.45):
        draw.rectangle((x + leg * h, y - h * 0.4, x + (leg + 0.16) * h, y), fill=grey)
    draw.rounded_rectangle((x - h * 0.7, y - h * 0.8, x + h * 0.6, y - h * 0.3), h * 0.2, fill=grey)
    draw.ellipse((x + h * 0.3, y - h * 1.2, x + h, y - h * 0.6), fill=grey)
    draw.polygon((x + h * 0.35, y - h, x + h * 0.5, y - h * 1.5, x + h * 0.65, y - h), fill="#fff")
    draw.polygon((x + h * 0.7, y - h, x + h * 0.85, y - h * 1.4, x + h * 0.95, y - h), fill=grey)
    draw.ellipse((x + h * 0.66, y - h, x + h * 0.76, y - h * 0.9), fill="#222")


def boat(draw: ImageDraw.ImageDraw, x: float, y: float, w: float) -> None:
    """The green rowing boat, its keel at (x, y)."""
    hull = (x - w / 2, y - w * 0.2, x + w / 2, y - w * 0.2, x + w * 0.36, y, x - w * 0.36, y)
    draw.polygon(hull, fill="#3d7a4b")
    draw.line((x - w / 2, y - w * 0.2, x + w / 2, y - w * 0.2), fill="#234a2d", width=int(w * 0.03))


def scene(number: int, size: tuple[int, int]) -> Image.Image:
    """Shot 0 to 3 of the Lighthouse."""
    picture = gradient(size, *SKIES[number])
    draw = ImageDraw.Draw(picture)
    w, h = size
    draw.rectangle((0, h * 0.62, w, h), fill=SEA)
    for row in range(4):
        y = h * (0.66 + 0.09 * row)
        for start in range(-1, 4):
            x = w * (0.3 * start + 0.1 * (row % 2))
            draw.arc((x, y, x + w * 0.2, y + h * 0.06), 200, 340, fill="#6fa3bf", width=2)
    if number == 0:
        draw.rectangle((0, h * 0.78, w, h * 0.9), fill="#6b5140")
        for post in range(6):
            x = w * (0.05 + 0.18 * post)
            draw.rectangle((x, h * 0.78, x + w * 0.03, h), fill="#4e3a2d")
        woman(draw, w * 0.52, h * 0.79, h * 0.5)
        terrier(draw, w * 0.24, h * 0.79, h * 0.14)
    elif number == 1:
        draw.rectangle((0, h * 0.82, w * 0.5, h), fill="#6b5140")
        boat(draw, w * 0.7, h * 0.95, w * 0.5)
        terrier(draw, w * 0.7, h * 0.87, h * 0.15)
        woman(draw, w * 0.3, h * 0.83, h * 0.58, sits=True)
    elif number == 2:
        woman(draw, w * 0.46, h * 0.86, h * 0.86, sits=True)
        terrier(draw, w * 0.8, h * 0.8, h * 0.2)
        boat(draw, w * 0.52, h * 1.05, w * 0.95)
        draw.line((w * 0.3, h * 0.66, w * 0.02, h * 0.95), fill="#c9a06c", width=int(w * 0.02))
    else:
        draw.pieslice((w * 0.3, h * 0.6, w * 1.1, h * 1.1), 180, 360, fill="#a59d8d")
        tower = (w * 0.7, h * 0.66, w * 0.73, h * 0.24, w * 0.83, h * 0.24, w * 0.86, h * 0.66)
        draw.polygon(tower, fill="#f6f4ee")
        draw.rectangle((w * 0.735, h * 0.14, w * 0.825, h * 0.24), fill="#f3cf5a")
        draw.polygon((w * 0.72, h * 0.14, w * 0.78, h * 0.05, w * 0.84, h * 0.14), fill="#b3402e")
        woman(draw, w * 0.52, h * 0.74, h * 0.28)
        terrier(draw, w * 0.41, h * 0.76, h * 0.08)
        boat(draw, w * 0.2, h * 0.86, w * 0.3)
    return picture


def face(who: str, size: tuple[int, int]) -> Image.Image:
    """A portrait of one character."""
    picture = gradient(size, (205, 196, 180), (160, 168, 184))
    draw = ImageDraw.Draw(picture)
    w, h = size
    if who == "mara":
        woman(draw, w * 0.5, h * 1.75, h * 1.65)
    else:
        terrier(draw, w * 0.4, h * 1.02, h * 0.6)
    return picture


class Card:
    """One thumbnail; places in its final pixels."""

    def __init__(self, title: str, words: str):
        self.picture = gradient((SIZE[0] * FINE, SIZE[1] * FINE), (38, 46, 60), (19, 22, 29))
        self.draw = ImageDraw.Draw(self.picture)
        self.text((28, 420), title, 40, INK)
        self.text((30, 468), words, 21, PALE)

    def text(self, at, words: str, size: int, colour: str) -> None:
        font = ImageFont.load_default(size * FINE)
        self.draw.text(tuple(v * FINE for v in at), words, fill=colour, font=font)

    def frame(self, picture, x, y, w, h, *, edge=INK, width=3) -> None:
        """A picture with an edge."""
        box = [int(v * FINE) for v in (x, y, x + w, y + h)]
        size = (box[2] - box[0], box[3] - box[1])
        self.picture.paste(picture(size) if callable(picture) else picture.resize(size, 0), box[:2])
        self.draw.rectangle(box, outline=edge, width=width * FINE)

    def strip(self, shots, x, y, w, h, gap=12) -> None:
        """Shots side by side on a piece of film."""
        length = len(shots) * (w + gap) + gap
        band = [v * FINE for v in (x, y - 22, x + length, y + h + 22)]
        self.draw.rounded_rectangle(band, 8 * FINE, fill="#07090c")
        for hole in range(int(length // 20)):
            left = x + 7 + 20 * hole
            for top in (y - 15, y + h + 7):
                place = [v * FINE for v in (left, top, left + 9, top + 8)]
                self.draw.rounded_rectangle(place, 2 * FINE, fill="#39414f")
        for i, shot in enumerate(shots):
            self.frame(shot, x + gap + i * (w + gap), y, w, h, edge="#07090c", width=1)

    def wire(self, start, end, colour=TEAL, width=4) -> None:
        """A curve, as between nodes."""
        (x0, y0), (x1, y1) = start, end
        points = []
        for step in range(33):
            t = step / 32
            bend = t * t * (3 - 2 * t)
            points.append(((x0 + (x1 - x0) * t) * FINE, (y0 + (y1 - y0) * bend) * FINE))
        self.draw.line(points, fill=colour, width=width * FINE, joint="curve")
        for x, y in (start, end):
            self.dot(x, y, 6, colour)

    def dot(self, x, y, r, colour) -> None:
        self.draw.ellipse([v * FINE for v in (x - r, y - r, x + r, y + r)], fill=colour)

    def save(self, path: Path) -> None:
        picture = self.picture.resize(SIZE, Image.Resampling.LANCZOS)
        picture.save(path, quality=QUALITY, optimize=True)


def shot(number: int):
    return lambda size: scene(number, size)


def portrait(who: str):
    return lambda size: face(who, size)


def story() -> Card:
    card = Card("A story, shot by shot", "one script, one memory, one film")
    card.strip([shot(0), shot(1)], 22, 82, 218, 122)
    card.strip([shot(2), shot(3)], 22, 262, 218, 122)
    return card


def references() -> Card:
    card = Card("Your own characters", "portraits first, then the story")
    for i, who in enumerate(("mara", "pip")):
        y = 92 + 160 * i
        for row in range(3):
            card.wire((172, y + 65), (262, 122 + 108 * row), GOLD if i else TEAL, 3)
        card.frame(portrait(who), 36, y, 130, 130, edge=GOLD, width=4)
        card.dot(160, y + 6, 11, "#c8472f")
    for row, number in enumerate((0, 2, 3)):
        card.frame(shot(number), 262, 74 + 108 * row, 214, 98)
    return card


def two_shots() -> Card:
    card = Card("Two shots, no loop", "every part visible, stock samplers")
    card.frame(shot(0), 24, 96, 204, 224)
    card.frame(shot(1), 284, 96, 204, 224)
    for i, colour in enumerate((TEAL, GOLD, "#b07cd6")):
        card.wire((228, 130 + 56 * i), (284, 150 + 56 * i), colour)
    card.frame(shot(0), 226, 336, 60, 46, edge=GOLD, width=2)
    return card


def core_loop() -> Card:
    card = Card("The loop on one wire", "for ComfyUI's own loop nodes")
    ring = [v * FINE for v in (116, 84, 396, 364)]
    card.draw.arc(ring, 300, 240, fill=TEAL, width=8 * FINE)
    tip = [v * FINE for v in (172, 116, 194, 78, 214, 110)]
    card.draw.polygon(tip, fill=TEAL)
    card.frame(shot(0), 24, 164, 168, 120)
    card.frame(shot(3), 320, 164, 168, 120)
    card.dot(256, 224, 30, GOLD)
    card.text((245, 210), "1", 26, NIGHT)
    return card


def start_loop() -> Card:
    card = Card("In Start Loop and End Loop", "every shot in ComfyUI's own loop")
    card.wire((96, 224), (186, 224), TEAL)
    card.wire((326, 224), (416, 224), TEAL)
    ring = [v * FINE for v in (60, 60, 452, 388)]
    card.draw.arc(ring, 215, 325, fill=TEAL, width=8 * FINE)
    tip = [v * FINE for v in (84, 150, 92, 104, 124, 132)]
    card.draw.polygon(tip, fill=TEAL)
    card.frame(shot(1), 172, 164, 168, 120, edge=GOLD, width=2)
    card.dot(76, 224, 30, GOLD)
    card.dot(436, 224, 30, "#b07cd6")
    return card


def four_steps() -> Card:
    card = Card("In 4 steps", "distilled LoRAs on StoryMem: fast drafts")
    noise = np.random.default_rng(4)
    for i, share in enumerate((0.85, 0.55, 0.25, 0.0)):

        def denoised(size, share=share):
            picture = np.asarray(scene(0, size), dtype=np.float32)
            coarse = noise.uniform(0, 255, (size[1] // 16 + 1, size[0] // 16 + 1, 3))
            grain = coarse.repeat(16, 0).repeat(16, 1)[: size[1], : size[0]]
            return Image.fromarray((picture * (1 - share) + grain * share).astype(np.uint8))

        x, y = 40 + 224 * (i % 2), 70 + 172 * (i // 2)
        card.frame(denoised, x, y, 208, 158, edge=GOLD if i == 3 else INK)
        card.dot(x + 184, y + 134, 16, GOLD)
        card.text((x + 178, y + 123), str(i + 1), 20, NIGHT)
    return card


def rehearse() -> Card:
    card = Card("Rehearse, then film", "a quick draft, then the film from its faces")
    for row, number in enumerate((0, 2, 3)):

        def drafted(size, number=number):
            small = scene(number, (size[0] // 6, size[1] // 6)).convert("L").convert("RGB")
            return small.resize(size, Image.Resampling.BILINEAR)

        y = 74 + 108 * row
        card.wire((150, y + 49), (198, 228), GOLD, 3)
        card.wire((318, 228), (356, y + 49), TEAL, 3)
        card.frame(drafted, 24, y, 130, 98)
        card.frame(shot(number), 350, y, 138, 98, edge=GOLD)
    card.frame(portrait("mara"), 196, 166, 122, 122, edge=GOLD, width=4)
    card.dot(312, 172, 11, "#c8472f")
    return card


def memento() -> Card:
    card = Card("A story with Memento", "it chooses what each shot remembers")
    for i, number in enumerate((0, 1, 2, 3, 0, 2)):
        x, y = 24 + 118 * (i % 2), 74 + 108 * (i // 2)
        chosen = i in (0, 3, 5)
        if chosen:
            card.wire((x + 104, y + 46), (300, 210), GOLD, 3)
        card.frame(shot(number), x, y, 104, 92, edge=GOLD if chosen else "#39414f", width=4)
    card.frame(shot(1), 300, 130, 188, 160, edge=TEAL, width=4)
    card.frame(portrait("mara"), 412, 300, 76, 76, edge=GOLD, width=3)
    return card


def sound() -> Card:
    card = Card("A story with sound", "music, voices and a sound for each shot")
    for i in range(3):
        card.frame(shot(i), 30 + 156 * i, 74, 140, 104, edge=INK)
    loud = np.random.default_rng(5)
    for row, (middle, height, colour) in enumerate(((246, 40, TEAL), (342, 34, GOLD))):
        for x in range(34, 480, 7):
            swell = abs(np.sin((x - 30) / (156 if row == 0 else 450) * np.pi))
            half = max(2.0, height * swell * loud.uniform(0.35, 1.0))
            line = [v * FINE for v in (x, middle - half, x, middle + half)]
            card.draw.line(line, fill=colour, width=4 * FINE)
    for x in (178, 334):
        card.draw.line([v * FINE for v in (x, 196, x, 296)], fill=PALE, width=FINE)
    return card


def low_vram() -> Card:
    card = Card("On a small card", "fp8 or GGUF, 640x368, tiles")
    board = [v * FINE for v in (30, 78, 482, 372)]
    card.draw.rounded_rectangle(board, 14 * FINE, fill="#23583f", outline="#123525", width=4 * FINE)
    for pin in range(16):
        place = [v * FINE for v in (66 + 22 * pin, 372, 79 + 22 * pin, 390)]
        card.draw.rectangle(place, fill=GOLD)
    for x in (366, 424):
        for y in (112, 202, 292):
            chip = [v * FINE for v in (x, y, x + 42, y + 46)]
            card.draw.rectangle(chip, fill="#10151b")
    card.frame(shot(2), 60, 122, 240, 206, edge="#10151b", width=6)
    for i in (1, 2):
        x, y = 60 + 80 * i, 122 + 69 * i
        card.draw.line([v * FINE for v in (x, 122, x, 328)], fill=INK, width=2)
        card.draw.line([v * FINE for v in (60, y, 300, y)], fill=INK, width=2)
    for y in (135, 225, 315):
        card.wire((300, 225), (366, y), GOLD)
    return card


def tiny_cpu() -> Card:
    """Portraits and shots of the demo, which the tiny model makes here: half a minute."""
    from storymem import __main__ as program
    from storymem.files.video import read_frames
    from storymem.tiny import demo

    card = Card("Try it on any CPU", "a tiny model that comes with the pack")
    with tempfile.TemporaryDirectory() as folder:
        assert program.main(["run", "--tiny", "--quiet", "--out", f"{folder}/story"]) == 0
        paths = [Path(folder, f"story/shot_01_0{number}.mp4") for number in (1, 2, 5, 8)]
        shots = [Image.fromarray(list(read_frames(path))[8]) for path in paths]
    for i, picture in enumerate(demo.portraits()):
        y = 76 + 166 * i
        for row in range(2):
            card.wire((138, y + 60), (188, 134 + 160 * row), GOLD if i else TEAL, 3)
        pixels = (picture.numpy() * 255).round().astype(np.uint8)
        card.frame(Image.fromarray(pixels), 20, y, 120, 120, edge=GOLD)
    for i, picture in enumerate(shots):
        card.frame(picture, 188 + 158 * (i % 2), 62 + 160 * (i // 2), 150, 150)
    return card


def finish() -> Card:
    """A shot, and the same one larger and in a row that becomes a film."""
    card = Card("Finish a story", "upscale shot by shot, timeline for editors")
    for i in range(3):
        y = 84 + 96 * i
        card.frame(shot(i + 1), 40, y, 110, 80, edge=TEAL)
        card.wire((150, y + 40), (214, 225), GOLD)
    card.frame(shot(2), 214, 98, 254, 218, edge=GOLD, width=6)
    return card


CARDS = {
    "storymem_story": story,
    "storymem_reference_images": references,
    "storymem_two_shots": two_shots,
    "storymem_core_loop": core_loop,
    "storymem_start_loop": start_loop,
    "memento_story": memento,
    "storymem_4_steps": four_steps,
    "storymem_rehearse": rehearse,
    "storymem_sound": sound,
    "storymem_low_vram": low_vram,
    "storymem_tiny_cpu": tiny_cpu,
    "storymem_finish": finish,
}


def main() -> None:
    for name, draw in CARDS.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        draw().save(PACK / "workflows" / f"{name}.jpg")


if __name__ == "__main__":
    main()
