"""Trains the tiny M2V DiT on the story world: ``python -m storymem.tiny.lab.train_dit``.

Rectified flow on the shot's frames only (paper 3.4). Run it again with the same ``--state`` to go
on. The probe tells early whether memory is used: the loss at noise level 0.8 with the true,
another story's and no memory. The identity figure samples held-out shots with portrait memory and
asks the judge.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from pathlib import Path

import torch
from einops import rearrange

from .. import dit, files, judge, vae, world
from . import corpus, speed
from .fit import Training
from .hearing import Words, heard

logger = logging.getLogger(__name__)

TRAIN_SEED, TEST_SEED = 2_000, 910_000
DIT_FILE = files.FILES["diffusion_models"]
# Of M = 0 ... 10, per cent. Looks are invented without memory: the model needs practice in that.
MEMORY_SHARES = (20, 9, 11, 13, 12, 9, 11, 5, 4, 3, 3)
PROBE_LEVEL, PROBE_MEMORY = 0.8, 4
LENGTHS, LENGTH_SHARES = (1, 2, 3, 5), (10, 8, 18, 64)  # latent frames, per cent of the steps
SHORT_MEMORY = (0, 2, 4, 6, 8)  # memory frames of shots shorter than the longest: fewer graphs
BATCH_PARTS = ("clean", "known", "mask", "junk", "weight", "words")  # that a step reads


# AdamW moves every weight by the rate, whatever its gradient. The text embedder's first layer has
# 4096 inputs of unit variance, so that its outputs move thousands of times as far; at the full rate
# its units went so far below zero that the words of a slot came out alike, never to be heard again.
TEXT_SHARES = {
    "condition_embedder.text_embedder.linear_1.weight": 0.002,
    "condition_embedder.text_embedder.linear_1.bias": 0.1,
    "condition_embedder.text_embedder.linear_2.weight": 0.1,
}


def flow_loss(model, batch: corpus.Batch, sigma, noise, embedded, dtype, memory_frames: int):
    """Squared velocity error of the shot's frames, weighted: the mean, and by sample [B]."""
    level = sigma.view(-1, 1, 1, 1, 1)
    noisy = (1 - level) * batch.clean + level * noise
    if memory_frames:
        junk = batch.junk.view(-1, 1, 1, 1, 1)
        memory = torch.where(junk, noise[:, :memory_frames], noisy[:, :memory_frames])
        noisy = torch.cat([memory, noisy[:, memory_frames:]], 1)
    device = noisy.device.type
    how = {"memory_frames": memory_frames, "moments": batch.moments if memory_frames else None}
    with torch.autocast(device, dtype, enabled=dtype is not None, cache_enabled=False):
        velocity = dit.predict(model, noisy, batch.mask, batch.known, sigma, embedded, **how)
    error = velocity.float() - (noise - batch.clean)
    error = (error[:, memory_frames:].square() * batch.weight).mean((1, 2, 3, 4))
    error = error / batch.weight.mean((1, 2, 3, 4))
    return error.mean(), error


@torch.no_grad()
def probe(
    model, held_out: corpus.Corpus, words: Words, dtype, *, size: int = 128, real_time: bool = False
) -> dict:
    """The loss at one noise level with true, shuffled and no memory, on the same shots."""
    device = held_out.words.device
    generator = torch.Generator(device).manual_seed(0)
    how = {"continued": 0.0, "real_time": real_time}
    batch = corpus.draw(held_out, size, PROBE_MEMORY, generator, **how)
    noise = torch.randn(batch.clean.shape, generator=generator, device=device)
    sigma = torch.full((size,), PROBE_LEVEL, device=device)
    embedded = words(batch.words)
    m = PROBE_MEMORY

    def loss(known, first: int) -> float:
        part = corpus.Batch(
            clean=batch.clean[:, first:],
            known=known[:, first:],
            mask=batch.mask[:, first:],
            junk=torch.zeros_like(batch.junk),
            **{k: getattr(batch, k) for k in ("weight", "words", "story", "shot", "moments")},
        )
        return flow_loss(model, part, sigma, noise[:, first:], embedded, dtype, m - first)[0].item()

    shuffled = torch.cat([batch.known[:, :m].roll(1, 0), batch.known[:, m:]], 1)
    return {
        "true": loss(batch.known, 0),
        "shuffled": loss(shuffled, 0),
        "none": loss(batch.known, m),
    }


def choose_shape(chooser: torch.Generator) -> tuple[int, int]:
    """Of the next step: how many memory frames, and how many latents the shot has."""
    shares = (torch.tensor(part, dtype=torch.float32) for part in (MEMORY_SHARES, LENGTH_SHARES))
    memory, length = (int(torch.multinomial(part, 1, generator=chooser)) for part in shares)
    frames = LENGTHS[length]
    if frames < LENGTHS[-1]:
        memory = min(SHORT_MEMORY, key=lambda size: abs(size - memory))
    return memory, frames


@torch.no_grad()
def identity(
    model,
    held_out,
    codec,
    words,
    referee,
    dtype,
    *,
    shots: int,
    memory: str,
    frames: int = corpus.FRAMES,
    real_time: bool = False,
    **how,
) -> tuple[dict, torch.Tensor]:
    """The judge on sampled held-out shots of ``frames`` latents, with ``memory`` of three portraits
    or none: rates, ``together`` of those who share a shot, and the clips."""
    device = held_out.words.device
    generator = torch.Generator(device).manual_seed(1)
    stories, per_story = held_out.words.shape[:2]
    pick = torch.arange(shots, device=device) * 3 % (stories * per_story)
    s, k = pick // per_story, pick % per_story
    known = held_out.grey[:frames].float().expand(shots, -1, -1, -1, -1)
    mask = torch.zeros(shots, frames, device=device)
    count = 0
    if memory == "portraits":
        count = held_out.portraits.shape[1]
        known = torch.cat([held_out.portraits[s].float(), known], 1)
        mask = torch.cat([torch.ones(shots, count, device=device), mask], 1)
        if real_time:
            how["moments"] = torch.full((shots, count), -dit.FURTHEST, device=device)
    embedded = words(held_out.words[s, k])
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        latents = dit.sample(
            model, mask, known, embedded, memory_frames=count, generator=generator, **how
        )
    clips = codec.decode(latents)
    scenes = held_out.stories.scenes[pick.cpu()]
    found = judge.agreement(referee, clips, scenes)
    both = scenes.visible.sum(1) == 2
    if both.any():
        pair = judge.agreement(referee, clips[both.to(device)], scenes[both])
        found["together"] = pair["joint"]
    return found, clips


def is_hidden_matrix(name: str, parameter: torch.nn.Parameter) -> bool:
    """Whether a parameter is a weight matrix of a block; Muon trains these."""
    return name.startswith("blocks.") and parameter.ndim == 2


def start(args: argparse.Namespace, device) -> tuple[torch.nn.Module, Training]:
    """The model, resumed from the state where there is one."""
    model = dit.build(layers=args.layers, ffn=args.ffn)
    if args.begin_with:
        model = dit.load_host_file(args.begin_with).train().requires_grad_(True)
    model.rope = dit.KnownPositions(model.rope)
    speed.quicken(model)
    model = model.to(device)
    training = Training(
        model,
        lr=args.lr,
        betas=(0.9, 0.98),
        ema_decay=0.9995,
        clip=1.0,
        weight_decay=0.01,
        by_muon=is_hidden_matrix if args.optimizer == "muon" else lambda name, p: False,
        share=lambda name: TEXT_SHARES.get(name, 1.0),
    )
    resumed = training.load(args.state)
    logger.info("%d parameters, resumed=%s", sum(p.numel() for p in model.parameters()), resumed)
    return model, training


def export(training: Training, path: Path, by: str = "train_dit") -> int:
    """The averaged weights as fp16 in the host's layout, made ``by`` a module of the lab; bytes."""
    from safetensors.torch import save_file

    state = dict(zip(training.names, training.ema, strict=True))
    state = {k: v.half().contiguous().cpu() for k, v in dit.to_host(state).items()}
    save_file(state, str(path), metadata=files.metadata(by))
    return path.stat().st_size


def train(args: argparse.Namespace) -> dict:
    """Train until a limit of the options is reached, going on from a saved state if there is one.

    Writes the weights, the state, figures and pictures. With ``export_only`` it writes the weights
    of the state alone.

    Returns:
        The last figures, as in ``dit.json``; with ``export_only``, the file's size in bytes alone.

    Raises:
        RuntimeError: when the loss is not finite before a state was saved.
    """
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    dtype = torch.bfloat16 if on_gpu else None
    if on_gpu:
        torch.cuda.set_stream(torch.cuda.Stream())
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(args.seed)
    began = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.export_only:
        _, training = start(args, device)
        return {"bytes": export(training, args.out / DIT_FILE)}
    module = vae.build()
    vae.load_host_file(module, args.vae or files.require("vae"))
    codec = corpus.LatentCodec(module, device)
    stored = torch.bfloat16 if on_gpu else torch.float32
    at_once = 8 if on_gpu else 1
    how = {"dtype": stored, "at_once": at_once}
    words = Words(device)
    model, training = start(args, device)
    # A few stories at a time are held and renewed, so that none is met often.
    data = corpus.build(codec, stories=args.stories, seed=TRAIN_SEED + training.steps, **how)
    held_out = corpus.build(
        codec, stories=args.test_stories, seed=TEST_SEED, characters=len(world.KINDS), **how
    )
    logger.info("%d stories encoded after %.1f s", args.stories, time.perf_counter() - began)
    if args.compile:
        torch._dynamo.config.recompile_limit = 64  # fifteen lengths, with and without gradients
        model.compile_repeated_blocks()
    generator = torch.Generator(device).manual_seed(args.seed + training.steps)
    chooser = torch.Generator().manual_seed(args.seed + training.steps)
    referee = judge.Judge(device)
    steps = speed.ShapedSteps(training.parameters, captures=on_gpu and args.compile)
    log = (args.out / "dit_metrics.jsonl").open("a")
    timed = {"real_time": args.real_time}

    def report(full: bool, **more) -> dict:
        kept = training.put(training.ema)
        found = {"steps": training.steps, "seconds": round(training.seconds, 1), **more}
        found["heard"] = heard(model, words)
        found["probe"] = probe(model, held_out, words, dtype, size=args.probe_size, **timed)
        cases: dict[str, dict] = {"portraits": {}}
        if full:
            cases["none"] = {"memory": "none"}
            if not args.real_time:
                cases |= {"s1": {"rope_shift": 1}, "s0": {"rope_shift": 0}}
            cases |= {f"latents_{f}": {"frames": f} for f in LENGTHS[:-1]}
        for name, case in cases.items():
            how = {"shots": args.judged_shots, "memory": "portraits", "rope_shift": 5, **case}
            how |= {"steps": args.sample_steps, **timed}
            found[name], clips = identity(model, held_out, codec, words, referee, dtype, **how)
            if name == "portraits":
                save_strip(args.out / "dit.png", clips)
        training.put(kept)
        log.write(json.dumps(found) + "\n")
        log.flush()
        logger.info("%s", found)
        return found

    deadline = began + args.minutes * 60
    last = since = None
    shown_at, next_report = training.steps, training.seconds + args.report_seconds

    def total() -> float:
        """The training time in all: what the options allow, or what is left of this command."""
        left = deadline - time.perf_counter() if args.to_the_end else math.inf
        return min(args.total_minutes * 60, training.seconds + left)

    while (
        time.perf_counter() < deadline
        and training.steps < args.max_steps
        and training.seconds < total()
    ):
        m, frames = choose_shape(chooser)
        if args.renew_steps and training.steps % args.renew_steps == 0:
            at = training.steps // args.renew_steps * at_once % (args.stories - at_once + 1)
            seed = TRAIN_SEED + 1 + training.steps
            data.replace(at, corpus.build(codec, stories=at_once, seed=seed, **how))
        batch = corpus.draw(data, args.batch, m, generator, frames=frames, **timed)
        u = torch.rand(args.batch, generator=generator, device=device)
        noise = torch.randn(batch.clean.shape, generator=generator, device=device)

        def work(clean, known, mask, junk, weight, tokens, sigma, noise, moments=None, m=m):
            batch = corpus.Batch(clean, known, mask, junk, weight, tokens, None, None, moments)
            return flow_loss(model, batch, sigma, noise, words(tokens), dtype, m)[0]

        inputs = [getattr(batch, name) for name in BATCH_PARTS]
        inputs += [dit.shifted(u), noise]
        if batch.moments is not None:
            inputs.append(batch.moments)
        loss = steps.run((m, frames), work, inputs)
        norm = training.apply(training.rate(total()))
        if since is None:  # the first step compiles, outside the training time
            loss.item()
            since = last = time.perf_counter()
            logger.info("first step done after %.1f s", since - began)
            continue
        if training.steps % args.sync_steps:
            continue
        value = loss.item()  # waits for the device, so that the clock below is true
        now = time.perf_counter()
        training.seconds += now - last
        last = now
        if not math.isfinite(value):
            training.recover(args.state)
            logger.warning("loss %s: back to step %d, rate halved", value, training.steps)
            continue
        if training.steps % args.log_steps == 0:
            step_ms = 1e3 * (now - since) / max(1, training.steps - shown_at)
            rate = training.rate(total())
            line = (training.steps, value, norm.item(), rate, step_ms)
            logger.info("%6d loss %.4f norm %.2f rate %.1e %.1f ms/step", *line)
            shown_at, since = training.steps, now
        if training.seconds > next_report:
            next_report = training.seconds + args.report_seconds
            export(training, args.out / DIT_FILE)
            report(False, loss=value)
            training.save(args.state)
            last = since = time.perf_counter()
            shown_at = training.steps
    size = export(training, args.out / DIT_FILE)
    training.save(args.state)
    result = report(True)
    result["bytes"] = size
    result["command"] = " ".join(sys.argv)
    (args.out / "dit.json").write_text(json.dumps(result, indent=1))
    return result


def save_strip(path: Path, clips: torch.Tensor) -> None:
    """Frames 0, 8 and 16 of up to eight clips, side by side."""
    from PIL import Image

    frames = rearrange(clips[:8, [0, 8, 16]], "clip t h w c -> h (clip t w) c")
    Image.fromarray((frames.float() * 255).round().byte().cpu().numpy()).save(path)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the program's options from ``argv``, or from the command line."""
    parser = argparse.ArgumentParser(prog="storymem.tiny.lab.train_dit", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--state", type=Path, required=True, help="folder of the resumable state")
    parser.add_argument("--export-only", action="store_true", help="write the file from --state")
    parser.add_argument("--begin-with", type=Path, help="a DiT file to go on from, at step 0")
    parser.add_argument("--vae", type=Path, help="VAE file; default: the shipped one")
    parser.add_argument("--minutes", type=float, default=9, help="wall-clock limit of this command")
    parser.add_argument("--total-minutes", type=float, default=20, help="training time in all")
    parser.add_argument(
        "--to-the-end", action="store_true", help="the rate falls to 0 by the end of this command"
    )
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ffn", type=int, default=832)
    parser.add_argument("--stories", type=int, default=3000, help="held at a time")
    parser.add_argument("--renew-steps", type=int, default=50, help="between fresh stories")
    parser.add_argument("--test-stories", type=int, default=64)
    parser.add_argument("--judged-shots", type=int, default=128)
    parser.add_argument("--sample-steps", type=int, default=20)
    parser.add_argument("--probe-size", type=int, default=256)
    parser.add_argument("--report-seconds", type=float, default=120)
    parser.add_argument("--log-steps", type=int, default=250)
    parser.add_argument("--sync-steps", type=int, default=25, help="steps between clock readings")
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="memory's positions are the latent frames since its moments, in place of S apart",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    train(parse())
