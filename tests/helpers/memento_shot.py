"""One shot of Memento through the nodes, one evaluation of it, and the same by the equations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from helpers.wan_reference import Split

FRAMES, ROWS, COLUMNS = 3, 4, 6  # latents of the shot
SIGMA, CFG = 0.7, 3.0
MOMENTS = (-9, 0, 3, 17, 30, 41, 63, 77)  # of the frames in the bank; the first before the story
BEGIN = 82
PAD = 512


def encoded(seed: int, length: int = 20) -> list:
    """A text as a conditioning, whose length is its own."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, length, 4096, generator=generator), {}]]


TEXTS = {
    "positive": encoded(1), "negative": encoded(2, 33), "identity_positive": encoded(3, 7),
    "identity_negative": encoded(4, 600),
}  # fmt: skip


def bank_of(m2v, memory: int):
    """A bank of frames at the last of ``MOMENTS``, in another order than that of time."""
    bank = m2v.bank(memory)
    moments = MOMENTS[-memory:]
    order = sorted(range(memory), key=lambda i: (i * 5) % 8)
    frames = tuple(
        replace(frame, moment=moments[i], story="tale")
        for frame, i in zip(bank.frames, order, strict=True)
    )
    return replace(bank, frames=frames)


def shot_of(m2v):
    return replace(m2v.shot(), begin=BEGIN)


@dataclass
class Parts:
    """What M2V Conditioning gives for one shot, and what an evaluation is given besides."""

    positive: list
    negative: list
    layout: object
    noise: torch.Tensor
    x: torch.Tensor

    @property
    def condition(self) -> torch.Tensor:
        """Mask and normalised latents ``[1, 20, frames, h, w]``, as the host hands them over."""
        import comfy.latent_formats

        options = self.positive[0][1]
        latents = comfy.latent_formats.Wan21().process_in(options["concat_latent_image"].clone())
        mask = (1 - options["concat_mask"]).expand(-1, 4, -1, -1, -1)
        return torch.cat([mask, latents], dim=1)


def parts_of(m2v, memory: int, *, has_identity: bool = True, batch: int = 1) -> Parts:
    inputs = dict(TEXTS)
    if not has_identity:
        del inputs["identity_positive"], inputs["identity_negative"]
    found = m2v.condition_in_time(
        bank=bank_of(m2v, memory) if memory else None, shot=shot_of(m2v), method="memento",
        **inputs,
    )  # fmt: skip
    positive, negative, latent, noise, frames, layout = found
    latent = latent["samples"].repeat(batch, 1, 1, 1, 1)
    assert latent.shape[2:] == (frames + FRAMES, ROWS, COLUMNS)
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(latent.shape, generator=generator)
    return Parts(positive, negative, layout, noise.generate_noise({"samples": latent}), x)


def patched(m2v, layout, model=None, refresh: str = "exact"):
    node = m2v.node("sampling.model_patch", "M2VModelPatch")
    model = m2v.high if model is None else model
    return node.execute(model, layout.frames, 5, refresh, "", "memento", layout).result[0]


def evaluate(model, parts: Parts, cfg: float = CFG, sigmas=(SIGMA,)) -> torch.Tensor:
    """The last x0 of a run of the host's guider that asks at ``sigmas`` with the same latent."""
    import comfy.samplers

    asked = []

    def ask(model, x, _, extra_args, callback, disable):
        for sigma in sigmas:
            asked.append(model(parts.x.to(x), x.new_full([len(x)], sigma), **extra_args))
        return asked[-1]

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(parts.positive, parts.negative)
    guider.set_cfg(cfg)
    with torch.inference_mode():
        guider.sample(
            parts.noise.clone(), torch.zeros_like(parts.noise), comfy.samplers.KSAMPLER(ask),
            torch.tensor([1.0, 0.0]), disable_pbar=True,
        )  # fmt: skip
    return asked[-1].cpu()


def expected(
    reference, parts: Parts, cfg: float = CFG, *, row: int = 0, sigma: float = SIGMA, split=Split,
    positions=None, is_kept: bool = True, texts=None,
) -> torch.Tensor:  # fmt: skip
    """The equations: x0 of memory is the clean memory, that of all else comes from the velocity."""
    layout, condition = parts.layout, parts.condition.double()
    texts = {name: padded(value, name) for name, value in TEXTS.items()} | (texts or {})
    memory = slice(int(layout.has_identity), layout.frames)
    clean = condition[:, 4:, memory]
    x = parts.x[row : row + 1].double()
    if is_kept:
        x[:, :, memory] = (1 - sigma) * clean + sigma * parts.noise[row : row + 1, :, memory]
    positions = layout.with_shot(FRAMES) if positions is None else positions
    split = split(layout.memory_frames) if layout.has_identity else None
    velocity = {
        name: reference(
            torch.cat([x, condition], dim=1), 1000 * sigma, texts[name], positions, split=split,
            identity_text=texts[f"identity_{name}"] if layout.has_identity else None,
        )
        for name in ("positive", "negative")
    }  # fmt: skip
    found = x - sigma * (velocity["negative"] + cfg * (velocity["positive"] - velocity["negative"]))
    found[:, :, memory] = clean
    return found


def padded(conditioning, name: str) -> torch.Tensor:
    text = conditioning[0][0]
    missing = PAD - text.shape[1] if name.startswith("identity") else 0
    return torch.nn.functional.pad(text, (0, 0, 0, max(0, missing)))
