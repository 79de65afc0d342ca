"""Lets a trained DiT hear slots whose words come out alike (see ``hearing.heard``), on a CPU:
``python -m storymem.tiny.lab.revive --out FILE --model FILE``.

``wake`` gives units of the text embedder that no other word uses to the words of the deaf slots, as
a small difference that leaves what the model does nearly as it was; training then learns what the
words mean. The second edition's places and cameras were woken so, in two runs (``--mix places``,
then ``--mix cameras`` on its result, which needs no waking).
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from pathlib import Path

import torch

from .. import dit, files, text, vae, world
from . import corpus, speed
from .fit import Training
from .hearing import Words, heard
from .train_dit import export, flow_loss, is_hidden_matrix

logger = logging.getLogger(__name__)

DEAF = ("place", "camera")
UNITS, QUIET, STRENGTH = 96, -6.0, 0.25  # units given away; their input elsewhere; of their output
UNUSED = -3.0  # the highest input of a unit that is as good as never on
# Of ten steps: the shot's latents, its memory frames.
MIXES = {
    "places": ((1, 0),) * 4 + ((1, 2), (2, 3), (1, 1), (5, 0), (5, 3), (5, 5)),
    "cameras": ((1, 0), (1, 0), (1, 2), (3, 3), (5, 0), (5, 0), (5, 0), (5, 1), (5, 3), (5, 5)),
}
RATE, WARM_UP, REPORT_STEPS = 2e-4, 60, 25
# Parts of the rate: the embedder's first layer has 4096 inputs, and moves its outputs that far.
SHARES = {
    "linear_1.weight": 0.1,
    "linear_1.bias": 0.1,
    "linear_2.weight": 3.0,
    "linear_2.bias": 0.5,
}
TOKENS = 150  # about how many latent frames a step has
SEEDS, STORIES = (71, 72), 120


@torch.no_grad()
def wake(model, *, seed: int = 0) -> None:
    """Make the words of the deaf slots differ after the text embedder, and nothing else."""
    words, slots = text.vectors()
    row = {word: 1 + place for place, word in enumerate(text.VOCABULARY)}
    embedder = model.condition_embedder.text_embedder
    first, second = embedder.linear_1, embedder.linear_2
    names = [words[row[name.lower()]] for names in world.NAMES for name in names]
    actions = [words[row[action]] for action in world.ACTIONS]
    spoken = [slots[side] + n + a for side in (0, 1) for n in names for a in actions]
    framing = slots[text.SLOTS.index("framing")]
    spoken += [slots[0], slots[1], framing]
    spoken += [framing + words[row[f]] for f in world.FRAMINGS if f in row]
    unused = ~(first(torch.stack(spoken)) > UNUSED).any(0)
    units = unused.nonzero()[:UNITS, 0]
    known = torch.cat([words[1:], slots])  # what is said of each: the units' inputs
    wanted = torch.zeros(len(known), len(units))
    for place, slot in enumerate(text.SLOTS):
        if slot not in DEAF:
            wanted[len(words) - 1 + place] = QUIET
    generator = torch.Generator().manual_seed(seed)
    for word in (*world.PLACES, *world.CAMERAS):
        wanted[row[word] - 1] = torch.randn(len(units), generator=generator)
    solved = torch.linalg.lstsq(known.double(), wanted.double(), driver="gelsd").solution
    first.weight[units] = solved.float().T
    first.bias[units] = 0
    second.weight[:, units] *= STRENGTH


def data_of(codec: corpus.LatentCodec, stories: int) -> corpus.Corpus:
    """Stories of both seeds, as one."""
    how = {"stories": stories, "dtype": torch.float16, "at_once": 2}
    one, other = (corpus.build(codec, seed=seed, **how) for seed in SEEDS)
    parts = {
        name: torch.cat([getattr(one, name), getattr(other, name)])
        for name in one.__dataclass_fields__
        if name not in ("stories", "grey")
    }
    return corpus.Corpus(stories=one.stories, grey=one.grey, **parts)


def revive(model, data: corpus.Corpus, mix, *, minutes: float, muon_rate: float, seed: int):
    """Train on ``data`` for so long; the training, with its averaged weights.

    ``mix`` has the shapes of steps, (latents, memory frames), which come equally often.
    """
    words = Words("cpu")
    shares = {f"condition_embedder.text_embedder.{end}": share for end, share in SHARES.items()}
    shares |= {
        name: muon_rate / RATE for name, p in model.named_parameters() if is_hidden_matrix(name, p)
    }
    training = Training(
        model,
        lr=RATE,
        betas=(0.9, 0.98),
        ema_decay=0.995,
        clip=1.0,
        by_muon=is_hidden_matrix,
        share=lambda name: shares.get(name, 1.0),
    )
    generator = torch.Generator().manual_seed(seed)
    began, total, losses = time.perf_counter(), minutes * 60, []
    while (spent := time.perf_counter() - began) < total:
        frames, memory = mix[int(torch.randint(len(mix), (1,), generator=generator))]
        size = max(10, int(TOKENS / (memory + frames) ** 0.9))
        batch = corpus.draw(data, size, memory, generator, frames=frames)
        if not memory:  # the backdrop counts like everything else
            batch.weight = torch.ones_like(batch.weight)
        sigma = dit.shifted(torch.rand(size, generator=generator))
        noise = torch.randn(batch.clean.shape, generator=generator)
        embedded = words(batch.words)
        loss, _ = flow_loss(model, batch, sigma, noise, embedded, None, memory)
        loss.backward()
        warm = min(1.0, (training.steps + 1) / WARM_UP)
        training.apply(RATE * warm * 0.5 * (1 + math.cos(math.pi * spent / total)))
        losses.append(loss.item())
        if training.steps % REPORT_STEPS == 0:
            mean = sum(losses[-REPORT_STEPS:]) / REPORT_STEPS
            told = (training.steps, spent, mean, heard(model, words))
            logger.info("%5d %4d s loss %.4f heard %s", *told)
    return training


def main(argv: list[str] | None = None) -> None:
    """Run the program: revive the model that its options name."""
    parser = argparse.ArgumentParser(prog="storymem.tiny.lab.revive", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="the file to write")
    add("--model", type=Path, required=True, help="DiT file in the host's layout")
    add("--vae", type=Path, help="VAE file; default: the shipped one")
    add("--mix", choices=tuple(MIXES), default="places", help="of the steps' shapes")
    add("--minutes", type=float, default=22, help="of training, after stories are encoded")
    add("--muon-rate", type=float, default=3e-4, help="at its highest")
    add("--seed", type=int, default=1)
    add("--stories", type=int, default=STORIES, help="of each of two seeds")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    torch.set_num_threads(2)
    model = dit.load_host_file(options.model).train().requires_grad_(True)
    model.rope = dit.KnownPositions(model.rope)
    speed.quicken(model)
    if options.mix == "places":
        wake(model)
    module = vae.build()
    vae.load_host_file(module, options.vae or files.require("vae"))
    data = data_of(corpus.LatentCodec(module, torch.device("cpu")), options.stories)
    how = {"minutes": options.minutes, "muon_rate": options.muon_rate, "seed": options.seed}
    export(revive(model, data, MIXES[options.mix], **how), options.out, by="revive")


if __name__ == "__main__":
    main()
