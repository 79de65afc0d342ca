"""Stories as latents, and training batches of the M2V task drawn from them."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from einops import rearrange

from .. import dit, picture, staging, text, vae, world

IMAGES = 3  # memory candidates of a shot: frame 0 and two others
PORTRAITS_FIRST = 0.45  # of the samples begin their memory with the portraits
STRANGERS = 0.15  # of those have frames that may be another story's: portraits are to be trusted
CONTINUED = 0.8  # of the continuing shots are trained as such, the others as cuts
TEXT_DROP = 0.1
MEMORY_NOISE = 0.05  # at most, on the memory's clean latents
JUNK_MEMORY = 0.25  # of the samples: noise alone where memory is denoised, as sampling may leave it
FOREGROUND_WEIGHT = 4.0
LONGER = 16  # at most, that memory is moved into the past, where positions are real time
FRAMES = 1 + (world.FRAMES - 1) // 4


@dataclasses.dataclass
class Corpus:
    """``S`` stories of ``K`` shots as normalised latents, [..., 16, h, w]."""

    stories: world.Stories
    shots: torch.Tensor  # [S, K, F, ...]
    known: torch.Tensor  # [S, K, F, ...]: the frames a continuing shot is given, then grey
    images: torch.Tensor  # [S, K, IMAGES, ...], encoded alone
    moments: torch.Tensor  # int64 [S, K, IMAGES]: of the images, in frames of their shots
    portraits: torch.Tensor  # [S, P, ...]
    cast: torch.Tensor  # bool [S, P]
    grey: torch.Tensor  # [F, ...]
    near: torch.Tensor  # [S, K, F, h, w]: where characters are
    words: torch.Tensor  # int64 [S, K, 5, 2]
    begins: torch.Tensor  # int64 [S, K]
    visible: torch.Tensor  # bool [S, K, P]

    def replace(self, at: int, fresh: Corpus) -> None:
        """Put the stories of ``fresh`` in the place of those from ``at`` on; words stay behind."""
        for field in dataclasses.fields(self):
            if field.name not in ("stories", "grey"):
                ours, theirs = getattr(self, field.name), getattr(fresh, field.name)
                ours[at : at + len(theirs)] = theirs


class LatentCodec:
    """Pixels to normalised latents and back, in the arithmetic of one device."""

    def __init__(self, module, device: torch.device):
        self.module = module.to(device).requires_grad_(False)
        self.model = vae.ClipVAE(self.module)
        self.device = device
        shape = (vae.CHANNELS, 1, 1)
        self.mean = torch.tensor(vae.WAN_MEAN, device=device).view(shape)
        self.std = torch.tensor(vae.WAN_STD, device=device).view(shape)

    @torch.no_grad()
    def encode(self, clips: torch.Tensor) -> torch.Tensor:
        """[N, T, H, W, 3] in 0 ... 1 -> [N, F, 16, h, w]."""
        half = torch.bfloat16 if self.device.type == "cuda" else None
        with torch.autocast(self.device.type, half, enabled=half is not None):
            mean, _ = self.model.encode(rearrange(clips, "b t h w c -> b t c h w") * 2 - 1)
        return (mean - self.mean) / self.std

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """[N, F, 16, h, w] -> [N, T, H, W, 3] in 0 ... 1."""
        parts = (latents.float() * self.std + self.mean).split(16)
        pixels = torch.cat([self.model.decode(part).clamp(-1, 1) for part in parts])
        return (rearrange(pixels, "b t c h w -> b t h w c") + 1) / 2


@torch.no_grad()
def build(
    codec: LatentCodec,
    *,
    stories: int,
    seed: int,
    dtype,
    at_once: int = 8,
    characters: int | None = None,
) -> Corpus:
    """Render and encode stories, ``at_once`` at a time."""
    drawn = staging.sample_stories(stories, seed=seed, characters=characters)
    device, shots = codec.device, drawn.place.shape[1]
    colours = picture.palette(device)
    generator = torch.Generator().manual_seed(seed)
    other = torch.randint(1, world.FRAMES, (len(drawn.scenes), IMAGES - 1), generator=generator)
    moments = torch.cat([torch.zeros_like(other[:, :1]), other], 1).to(device)
    scenes = drawn.scenes.to(device)
    begins = drawn.begins.flatten().to(device)
    given = begins + 3 * (begins == world.FIVE_FRAMES)  # pixel frames: 0, 1 or 5
    time = torch.arange(world.FRAMES, device=device)
    columns = {"shots": [], "known": [], "images": [], "near": []}
    grey = torch.full((1, world.FRAMES, world.SIZE, world.SIZE, 3), 0.5, device=device)
    grey = codec.encode(grey)[0]
    for part in torch.arange(len(scenes), device=device).split(at_once * shots):
        clips = picture.render(scenes[part], colours)
        columns["shots"].append(codec.encode(clips))
        goes_on = begins[part] != world.CUT
        is_given = (time[None] < given[part][goes_on, None])[..., None, None, None]
        known = grey.repeat(len(part), 1, 1, 1, 1)
        known[goes_on] = codec.encode(torch.where(is_given, clips[goes_on], 0.5)).to(known)
        columns["known"].append(known)
        picked = clips.gather(
            1, moments[part, :, None, None, None].expand(-1, -1, *clips.shape[2:])
        )
        columns["images"].append(codec.encode(picked.flatten(0, 1)[:, None]))
        near = F.avg_pool2d(picture.foreground(scenes[part]), 8)
        columns["near"].append(
            torch.cat([near[:, :1], near[:, 1:].unflatten(1, (-1, 4)).amax(2)], 1)
        )
    found = {name: torch.cat(values).to(dtype) for name, values in columns.items()}
    faces = [
        codec.encode(picture.render(world.portraits(look.to(device), kind), colours))[:, 0]
        for kind in range(len(world.KINDS))
        for look in drawn.look[:, kind].split(at_once * shots)
    ]
    portraits = rearrange(torch.cat(faces), "(kind story) ... -> story kind ...", story=stories)
    prompts = [[text.tokens(drawn.prompt(s, k)) for k in range(shots)] for s in range(stories)]
    return Corpus(
        stories=drawn,
        shots=found["shots"].unflatten(0, (stories, shots)),
        known=found["known"].unflatten(0, (stories, shots)),
        images=found["images"][:, 0].unflatten(0, (stories, shots, IMAGES)),
        near=found["near"].unflatten(0, (stories, shots)),
        moments=moments.unflatten(0, (stories, shots)),
        portraits=portraits.to(dtype),
        cast=drawn.cast.to(device),
        grey=grey.to(dtype),
        words=torch.tensor(prompts, device=device),
        begins=drawn.begins.to(device),
        visible=drawn.visible.to(device),
    )


@dataclasses.dataclass
class Batch:
    """What a step needs; memory first on the time axis."""

    clean: torch.Tensor  # [B, M + F, 16, h, w]
    known: torch.Tensor  # [B, M + F, 16, h, w]
    mask: torch.Tensor  # [B, M + F]
    junk: torch.Tensor  # bool [B]
    weight: torch.Tensor  # [B, F, 1, h, w]
    words: torch.Tensor  # int64 [B, 5, 2]
    story: torch.Tensor  # int64 [B]
    shot: torch.Tensor  # int64 [B]
    moments: torch.Tensor | None = None  # int64 [B, M], where memory's positions are real time


def draw(
    corpus: Corpus,
    size: int,
    memory_frames: int,
    generator: torch.Generator,
    *,
    portraits_first: float = PORTRAITS_FIRST,
    continued: float = CONTINUED,
    strangers: float = STRANGERS,
    frames: int = FRAMES,
    real_time: bool = False,
) -> Batch:
    """Random shots with memory from the other shots and the portraits of their story.

    ``frames`` is their length in latents, 1 to 5: the VAE is causal, so a shorter clip's latents
    are the beginning of the longer one's.

    Portraits come first, in the order of kinds; where there is less room than characters, those
    that the shot shows are among them.

    With ``real_time`` the memory's positions are the latent frames since its moments: the other
    shots come before this one, the story's end being joined to its beginning, and half of the
    samples are up to ``LONGER`` times as far away. Portraits are as far away as can be.
    """
    device = corpus.words.device
    stories, shots = corpus.words.shape[:2]

    def integers(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, (size, *shape), generator=generator, device=device)

    def chance(share: float) -> torch.Tensor:
        return torch.rand(size, generator=generator, device=device) < share

    s, k = integers(stories), integers(shots)
    begins = corpus.begins[s, k] * chance(continued)
    begins = torch.where(begins < frames, begins, world.CUT)  # something is left to be made
    shot = corpus.shots[s, k, :frames].float()
    is_cut = (begins == world.CUT).view(-1, 1, 1, 1, 1)
    known = torch.where(is_cut, corpus.grey[:frames].float(), corpus.known[s, k, :frames].float())
    mask = torch.arange(shot.shape[1], device=device)[None] < begins[:, None]  # 0, 1 or 2 latents
    moments = None
    if memory_frames:
        others = (k[:, None] + 1 + integers(shots - 1, memory_frames)) % shots
        others = others.sort(1).values
        which = integers(2, memory_frames) * (1 + integers(IMAGES - 1, memory_frames))
        first = chance(portraits_first)
        odd = (first & chance(strangers))[:, None] & (integers(2, memory_frames) == 0)
        whose = torch.where(odd, integers(stories)[:, None], s[:, None])
        memory = corpus.images[whose, others, which].float()
        order = torch.rand(size, len(world.KINDS), generator=generator, device=device)
        order = order - corpus.visible[s, k].float() + 2 * (~corpus.cast[s]).float()
        shown = (order.argsort(1).argsort(1) < memory_frames) & corpus.cast[s] & first[:, None]
        kinds = (~shown).to(torch.uint8).argsort(dim=1, stable=True)  # those shown, in order
        for slot in range(min(memory_frames, len(world.KINDS))):
            face = corpus.portraits[s, kinds[:, slot]].float()
            is_face = (slot < shown.sum(1)).view(-1, 1, 1, 1)
            memory[:, slot] = torch.where(is_face, face, memory[:, slot])
        if real_time:
            begins = (k[:, None] - others) % shots * world.FRAMES
            ago = begins - corpus.moments[whose, others, which]
            far = torch.rand(size, 1, generator=generator, device=device)
            ago = ago * torch.where(chance(0.5)[:, None], LONGER**far, 1.0)
            moments = -(ago / 4).ceil().long().clamp(1, dit.FURTHEST)
            slots = torch.arange(memory_frames, device=device)
            moments[slots < shown.sum(1, keepdim=True)] = -dit.FURTHEST
        noise = torch.randn(memory.shape, generator=generator, device=device)
        level = MEMORY_NOISE * torch.rand(size, 1, 1, 1, 1, generator=generator, device=device)
        known = torch.cat([memory + level * noise, known], 1)
        mask = torch.cat([mask.new_ones(size, memory_frames), mask], 1)
        clean = torch.cat([memory, shot], 1)
    else:
        clean = shot
    return Batch(
        clean=clean,
        known=known,
        mask=mask.float(),
        junk=chance(JUNK_MEMORY),
        weight=1 + FOREGROUND_WEIGHT * corpus.near[s, k, :frames].float()[:, :, None],
        words=corpus.words[s, k] * ~chance(TEXT_DROP)[:, None, None],
        story=s,
        shot=k,
        moments=moments,
    )
