"""What is left of a measurement: JSON, CSV, heat maps, tables, and one page to look at."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..files.disk import write_whole
from ..files.names import folder_name
from .scores import OTHER_AESTHETIC, ROUNDS, SEED, Estimate, StoryNumbers, compare_systems

PAPER = "ViCLIP L/14"
TITLES = {
    "aesthetic": "aesthetic quality",
    OTHER_AESTHETIC: "aesthetic quality (another head)",
    "global": "prompt following, global",
    "single_shot": "prompt following, single shot",
    "overall": "cross-shot consistency, overall",
    "top10": "cross-shot consistency, top-10",
    "identity": "later appearances that keep the look",
}
STAND_INS = {"clip_average_": "open_clip frame average", "tiny_world_": "tiny world"}
DIGITS = 4  # as the paper prints them
HEAT = ((0.0, (8, 12, 48)), (0.5, (160, 44, 96)), (0.8, (240, 150, 60)), (1.0, (255, 250, 205)))
HEAT_SIZE = 768  # pixels, about
PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #8886;padding:.3rem .6rem;
text-align:right;vertical-align:top}td.text,th.text{text-align:left}small{color:#777}
img{max-width:100%}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}"""


@dataclass(frozen=True)
class Measurement:
    """Everything that was measured. ``systems`` has at least one; ``models`` says with what."""

    systems: Mapping[str, Sequence[StoryNumbers]]
    columns: tuple[str, ...]
    models: Mapping
    failures: Mapping[str, str] = field(default_factory=dict)  # folder -> why it was not measured
    notes: tuple[str, ...] = ()

    @property
    def stories(self) -> list[tuple[str, StoryNumbers]]:
        """Every story with the name of its system, system by system."""
        return [(system, story) for system, all_ in self.systems.items() for story in all_]

    def compare(self) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
        """Each system's numbers, and its differences from the first (see ``compare_systems``)."""
        return compare_systems(self.systems, self.columns)

    def all_notes(self) -> list[str]:
        """Its own notes, and what else a reader of the numbers must know: prompts that were cut,
        frames that were skipped, models that are not the paper's, folders not measured."""
        cut = sum(shot.is_prompt_cut for _, story in self.stories for shot in story.shots)
        total = sum(len(story.shots) for _, story in self.stories)
        notes = list(self.notes)
        if cut:
            notes.append(
                f"{cut} of {total} prompts are longer than the {self.models['text_tokens']} tokens "
                f"that {self.models['features']} reads; only their beginning counts"
            )
        every = self.models["aesthetic_every"]
        if every and every > 1:
            notes.append(f"aesthetic quality looks at one frame in {every} only")
        if self.columns[0] == OTHER_AESTHETIC:
            notes.append(
                "the aesthetic head is not VBench's sa_0_4_vit_l_14_linear.pth on CLIP ViT-L/14: "
                "its numbers cannot be compared with the paper's"
            )
        if self.models["features"].startswith("ViCLIP") and self.models["features"] != PAPER:
            notes.append(f"the paper measures with {PAPER}")
        if prefix := _prefix_of(self.columns):
            notes.append(
                f"columns {prefix}... are a stand-in's ({STAND_INS[prefix]}): they cannot be "
                "compared with the paper's"
            )
        notes += [f"{folder} was not measured: {why}" for folder, why in self.failures.items()]
        return notes


def title_of(column: str) -> str:
    """A column's name in words; a stand-in's says that it is one."""
    prefix = _prefix_of([column])
    words = TITLES.get(column.removeprefix(prefix), column)
    return f"{words} ({STAND_INS[prefix]})" if prefix else words


def _prefix_of(columns: Iterable[str]) -> str:
    """What begins the names of a stand-in's columns; empty for the paper's."""
    return next((p for p in STAND_INS for column in columns if column.startswith(p)), "")


def write_report(folder: Path, measured: Measurement) -> Path:
    """All files of a report; the page's path. Earlier files of the same names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    maps = {}
    for number, (system, story) in enumerate(measured.stories, 1):
        picture = as_png(heat_map(story.similarity, [shot.label for shot in story.shots]))
        name = folder_name(re.sub(r"[\\/]", "_", f"{number:03d}_{system}_{story.name}"))
        (folder / "heatmaps").mkdir(exist_ok=True)
        write_whole(folder / "heatmaps" / f"{name}.png", picture)
        maps[number] = picture
    text = json.dumps(as_json(measured), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "metrics.json", text.encode("utf-8", "surrogatepass"))
    for name, rows in (
        ("shots", shot_rows(measured)),
        ("stories", story_rows(measured)),
        ("systems", system_rows(measured)),
    ):
        write_whole(folder / f"{name}.csv", as_csv(rows).encode("utf-8", "surrogatepass"))
    page = folder / "report.html"
    write_whole(page, as_page(measured, maps).encode("utf-8", "replace"))
    return page


def as_json(measured: Measurement) -> dict:
    """The whole measurement; what is not known is null."""
    means, differences = measured.compare()
    return {
        "format": 1,
        "measured_with": dict(measured.models),
        "bootstrap": {"over": "stories", "rounds": ROUNDS, "seed": SEED, "interval": 0.95},
        "notes": measured.all_notes(),
        "systems": _plain(means),
        "differences_from_first": _plain(differences),
        "stories": [
            {
                "system": system,
                "story": story.name,
                "folder": story.folder.name,
                "shots": len(story.shots),
                **story.values,
                "similarity": story.similarity.round(6).tolist(),
                "top_pairs": [[story.shots[i].label for i in pair] for pair in story.top_pairs],
                "per_shot": _shots_of(system, story),
            }
            for system, story in measured.stories
        ],
    }


def _plain(table: Mapping[str, Mapping[str, Estimate]]) -> dict:
    return {
        system: {column: asdict(value) for column, value in row.items()}
        for system, row in table.items()
    }


def _shots_of(system: str, story: StoryNumbers) -> list[dict]:
    prefix = _prefix_of(story.values)
    return [
        {
            "system": system,
            "story": story.name,
            "shot": shot.label,
            "frames": shot.frames,
            "width": shot.width,
            "height": shot.height,
            "aesthetic": shot.aesthetic,
            f"{prefix}single_shot": shot.following,
            "prompt": shot.prompt,
        }
        for shot in story.shots
    ]


def shot_rows(measured: Measurement) -> list[dict]:
    """A row for each shot of all systems, with its prompt and its own numbers."""
    return [row for system, story in measured.stories for row in _shots_of(system, story)]


def story_rows(measured: Measurement) -> list[dict]:
    """A row for each story of all systems: its number of shots, and its value in every column."""
    return [
        {"system": system, "story": story.name, "shots": len(story.shots), **story.values}
        for system, story in measured.stories
    ]


def system_rows(measured: Measurement) -> list[dict]:
    """A row for each system: every column's mean, interval, and number of stories."""
    means, _ = measured.compare()
    return [
        {
            "system": system,
            **{
                f"{column}{tail}": value
                for column, estimate in row.items()
                for tail, value in (
                    ("", estimate.mean),
                    ("_low", estimate.low),
                    ("_high", estimate.high),
                    ("_stories", estimate.stories),
                )
            },
        }
        for system, row in means.items()
    ]


def as_csv(rows: Sequence[Mapping]) -> str:
    """Rows with a header; unknown is empty. Texts never become formulas in a spreadsheet."""
    target = io.StringIO()
    if rows:
        writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([{key: _cell(value) for key, value in row.items()} for row in rows])
    return target.getvalue()


def _cell(value):
    if isinstance(value, str) and value.lstrip()[:1] in ("=", "+", "-", "@"):
        return f"'{value}"
    return "" if value is None else value


def as_table(measured: Measurement) -> str:
    """The systems as text, aligned, with intervals where there are any."""
    means, differences = measured.compare()
    lines = _table("system", means, measured.columns)
    if differences:
        first = next(iter(means))
        lines += ["", *_table(f"minus {first}", differences, measured.columns, signed=True)]
    return "\n".join(lines)


def _table(
    corner: str, rows: Mapping[str, Mapping[str, Estimate]], columns: Sequence[str], *, signed=False
) -> list[str]:
    cells = [[corner, *columns, "stories"]]
    for system, row in rows.items():
        count = max(estimate.stories for estimate in row.values())
        cells.append([system, *(show(row[c], signed=signed) for c in columns), str(count)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]


def show(estimate: Estimate, *, signed: bool = False) -> str:
    """A mean, with its interval if it has one: ``0.5065 [0.4831, 0.5290]``; ``-`` for no mean."""
    sign = "+" if signed else ""
    if estimate.mean is None:
        return "-"
    text = f"{estimate.mean:{sign}.{DIGITS}f}"
    if estimate.low is None:
        return text
    return f"{text} [{estimate.low:{sign}.{DIGITS}f}, {estimate.high:{sign}.{DIGITS}f}]"


def heat_map(similarity: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """``uint8 [H, W, 3]``: how alike the shots are, dark to bright from 0 to 1, with labels.

    What lies beyond has the colour of the nearer end.
    """
    from PIL import Image, ImageDraw, ImageFont

    count = len(labels)
    cell = max(3, min(96, HEAT_SIZE // count))
    margin = 58 if cell >= 12 else 0
    size = count * cell
    values = similarity.repeat(cell, 0).repeat(cell, 1)
    stops, colours = zip(*HEAT, strict=True)
    channels = [np.interp(values, stops, [c[i] for c in colours]) for i in range(3)]
    picture = Image.new("RGB", (size + margin, size + margin), (24, 24, 24))
    shown = np.stack(channels, axis=-1).round().astype(np.uint8)
    picture.paste(Image.fromarray(shown), (margin, margin))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for i in range(count if margin else 0):
        at = margin + i * cell + cell // 2
        draw.text((margin - 6, at), labels[i][:9], font=font, fill=(230, 230, 230), anchor="rm")
        turned = Image.new("RGB", (margin, 12), (24, 24, 24))
        ImageDraw.Draw(turned).text((4, 6), labels[i][:9], font=font, fill=(230, 230, 230),
                                    anchor="lm")  # fmt: skip
        picture.paste(turned.rotate(90, expand=True), (at - 6, 0))
        for j in range(count if cell >= 36 else 0):
            dark = similarity[i, j] > 0.6
            place = (margin + j * cell + cell // 2, at)
            text = f"{similarity[i, j]:.2f}"
            draw.text(place, text, font=font, fill=(0, 0, 0) if dark else (240,) * 3, anchor="mm")
    return np.asarray(picture)


def as_png(pixels: np.ndarray) -> bytes:
    """The PNG file of a picture, ``uint8 [H, W, 3]``."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# --- the page ----------------------------------------------------------------------------------


def as_page(measured: Measurement, maps: Mapping[int, bytes]) -> str:
    """One file with everything in it, which loads nothing from anywhere."""
    means, differences = measured.compare()
    columns = measured.columns
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}">',
        f"<title>Story metrics</title><style>{STYLE}</style></head><body><h1>Story metrics</h1>",
        f"<p>Measured with {_text(measured.models['features'])}. Intervals: 95 %, bootstrap over "
        "stories.</p>",
        _html_table("system", means, columns, show),
    ]
    if differences:
        first = next(iter(means))
        parts.append("<h2>Differences, story by story</h2>")
        signed = _html_table(
            f"minus {first}", differences, columns, lambda value: show(value, signed=True)
        )
        parts.append(signed)
    parts += [f"<p><small>{_text(note)}</small></p>" for note in measured.all_notes()]
    for number, (system, story) in enumerate(measured.stories, 1):
        parts.append(_story_part(system, story, columns, maps[number]))
    return "\n".join([*parts, "</body></html>\n"])


def _html_table(corner: str, rows, columns, shown: Callable[[Estimate], str]) -> str:
    head = "".join(f"<th>{_text(title_of(column))}</th>" for column in columns)
    lines = [f"<tr><th class=text>{_text(corner)}</th>{head}<th>stories</th></tr>"]
    for system, row in rows.items():
        cells = "".join(f"<td>{_text(shown(row[column]))}</td>" for column in columns)
        count = max(estimate.stories for estimate in row.values())
        lines.append(f"<tr><td class=text>{_text(system)}</td>{cells}<td>{count}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def _story_part(system: str, story: StoryNumbers, columns, picture: bytes) -> str:
    numbers = "".join(
        f"<tr><td class=text>{_text(title_of(column))}</td><td>{_number(story.values.get(column))}"
        "</td></tr>"
        for column in columns
    )
    rows = "".join(
        f"<tr><td><img src='{_data(shot.thumbnail, 'jpeg')}' alt='shot {_text(shot.label)}'></td>"
        f"<td>{_text(shot.label)}</td><td>{shot.frames} frames<br>{shot.width}x{shot.height}</td>"
        f"<td>{_number(shot.aesthetic)}</td><td>{_number(shot.following)}</td>"
        f"<td class=text>{_text(shot.prompt)}</td></tr>"
        for shot in story.shots
    )
    return (
        f"<h2>{_text(story.name)} <small>({_text(system)})</small></h2><table>{numbers}</table>"
        f"<p><img src='{_data(picture, 'png')}' alt='How alike the shots are, from 0 to 1'></p>"
        "<details><summary>Shots</summary><table><tr><th></th><th>shot</th><th>size</th>"
        "<th>aesthetic</th><th>prompt following</th><th class=text>prompt</th></tr>"
        f"{rows}</table></details>"
    )


def _text(value: str) -> str:
    return html.escape(str(value))  # quotes, too


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{DIGITS}f}"


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
