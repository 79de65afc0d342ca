"""Trains the tiny Wan-VAE on the story world: ``python -m storymem.tiny.lab.train_vae``.

Every step renders new clips. The learning rate follows the share of ``--total-minutes`` already
spent, so that one training can be cut into several commands: the state in ``--state`` is resumed
when present. The gate before any DiT is trained: the judge on reconstructions >= 0.98 joint, clip
PSNR >= 32 dB.
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

from .. import files, judge, picture, staging, vae, world
from ..place_judge import place_agreement
from .fit import Training

logger = logging.getLogger(__name__)

TRAIN_SEED, TEST_SEED = 1_000, 900_000  # stories of training and of evaluation never meet
GATE_JOINT, GATE_PSNR = 0.98, 32.0
KL_WEIGHT = 3e-5
DIFFERENCE_WEIGHT = 0.5  # of the temporal-difference loss
FIRST_FRAME_WEIGHT = 2.0  # frame 0 is also the path of every memory image
FOREGROUND_WEIGHT = 1.0  # added near characters


def training_scenes(stories: int, device) -> world.Scenes:
    """All shots of the training stories, and for every story a portrait of each kind."""
    drawn = staging.sample_stories(stories, seed=TRAIN_SEED)
    parts = [drawn.scenes]
    kinds = range(len(world.KINDS))
    parts += [world.portraits(drawn.look[:, kind], kind, frames=world.FRAMES) for kind in kinds]
    fields = [f for f in world.Scenes.__dataclass_fields__]
    return world.Scenes(*(torch.cat([getattr(p, f) for p in parts]) for f in fields)).to(device)


def wander(scenes: world.Scenes, generator: torch.Generator) -> world.Scenes:
    """Half of the clips start elsewhere and bounce back, so that frame 0 shows every pose."""
    n, device = len(scenes), scenes.x.device
    start = torch.randint(32, (n, 1), generator=generator, device=device)
    start = start * torch.randint(2, (n, 1), generator=generator, device=device)
    moment = (start + torch.arange(world.FRAMES, device=device)) % 32
    return scenes.at((16 - (moment - 16).abs()).clamp(max=world.FRAMES - 1))


def grey_tails(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """6 % of the clips turn mid grey after 0, 1 or 5 frames, as M2V conditioning clips do."""
    n, time_steps = pixels.shape[:2]
    known = torch.randint(3, (n,), generator=generator, device=pixels.device)
    known = known + 3 * (known == 2)
    chosen = torch.rand(n, generator=generator, device=pixels.device) < 0.06
    known = torch.where(chosen, known, time_steps)
    keep = torch.arange(time_steps, device=pixels.device)[None] < known[:, None]
    return torch.where(keep.view(n, time_steps, 1, 1, 1), pixels, 0.5)


def loss_parts(model: vae.ClipVAE, pixels, weight, noise, autocast: torch.dtype | None):
    """The loss and the mean squared error.

    Pixels are [B, T, 3, H, W] in -1 ... 1, the weight [B, T, 1, H, W].
    """
    with torch.autocast(
        pixels.device.type, autocast, enabled=autocast is not None, cache_enabled=False
    ):
        mean, log_variance = model.encode(pixels)
        restored = model.decode(mean + (0.5 * log_variance).exp() * noise)
    error = restored - pixels
    square = error.square()
    picture = (weight * ((square + 1e-6).sqrt() + 2 * square)).mean()
    change = error[:, 1:] - error[:, :-1]
    difference = (weight[:, 1:] * (change.square() + 1e-6).sqrt()).mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return picture + DIFFERENCE_WEIGHT * difference + KL_WEIGHT * kl, square.mean().detach()


def pick_convolutions(device, batch: int, base: int) -> dict[int, str]:
    """Times the forms of a causal convolution at each level; the fastest by input channels."""
    if torch.device(device).type != "cuda":
        return {}
    chosen = {}
    for channels, frames, side in ((base, 17, 96), (2 * base, 17, 48), (4 * base, 9, 24)):
        x = torch.randn(batch, frames, side, side, channels, device=device, dtype=torch.bfloat16)
        x = x.permute(0, 1, 4, 2, 3).requires_grad_()  # channels innermost
        w = torch.randn(channels, channels, 3, 3, 3, device=device, dtype=torch.bfloat16)
        w.requires_grad_()
        b = torch.zeros(channels, device=device, dtype=torch.bfloat16, requires_grad=True)
        times = {}
        for how in vae.CONVOLUTIONS:
            for turn in range(8):
                if turn == 3:
                    torch.cuda.synchronize()
                    began = time.perf_counter()
                y = vae.causal_convolution(x, w, b, how)
                torch.autograd.grad(y.float().square().mean(), (x, w, b))
            torch.cuda.synchronize()
            times[how] = (time.perf_counter() - began) / 5 * 1e3
        chosen[channels] = min(times, key=times.get)
        logger.info("convolution %d ch %dx%d: %s ms", channels, side, side, times)
    return chosen


@torch.no_grad()
def reconstruct(model: vae.ClipVAE, clips: torch.Tensor, at_once: int = 8) -> torch.Tensor:
    """[N, T, H, W, 3] in 0 ... 1 -> the same through the latent means, clamped."""
    out = []
    for part in clips.split(at_once):
        mean, _ = model.encode(rearrange(part, "b t h w c -> b t c h w") * 2 - 1)
        pixels = (model.decode(mean).clamp(-1, 1) + 1) / 2
        out.append(rearrange(pixels, "b t c h w -> b t h w c"))
    return torch.cat(out)


@torch.no_grad()
def evaluate(model: vae.ClipVAE, device, *, stories: int = 16, referee: judge.Judge | None = None):
    """Held-out clips: PSNR in dB (mean of clips, worst clip, images) and the judge's figures."""
    drawn = staging.sample_stories(stories, seed=TEST_SEED)
    scenes = drawn.scenes.to(device)
    clips = torch.cat([picture.render(scenes[part]) for part in torch.arange(len(scenes)).split(8)])
    restored = reconstruct(model, clips)

    def psnr(a, b):
        return -10 * (a - b).square().mean((1, 2, 3, 4)).log10()

    by_clip = psnr(clips, restored)
    moments = clips[:, 8:9]  # as memory frames are encoded: alone, from the middle of a shot
    faces = torch.cat(
        [
            picture.render(world.portraits(drawn.look[:, k].to(device), k))
            for k in range(len(world.KINDS))
        ]
    )
    result = {
        "psnr": by_clip.mean().item(),
        "psnr_worst": by_clip.min().item(),
        "psnr_last_frames": psnr(clips[:, -4:], restored[:, -4:]).mean().item(),
        "psnr_image": psnr(moments, reconstruct(model, moments)).mean().item(),
        "psnr_portrait": psnr(faces, reconstruct(model, faces)).mean().item(),
    }
    if referee is not None:
        frame = scenes.at(torch.full((len(scenes), 1), 8, device=scenes.x.device))
        images = reconstruct(model, moments)
        for name, seen, meant in (
            ("truth", clips, scenes),
            ("restored", restored, scenes),
            ("image", images, frame),
        ):
            result[name] = judge.agreement(referee, seen, meant)
            result[f"{name}_places"] = place_agreement(seen, meant)
    return result, clips, restored


def save_sheet(path: Path, clips: torch.Tensor, restored: torch.Tensor) -> None:
    """Frames 0, 8 and 16 of eight clips: truth above, reconstruction below."""
    from PIL import Image

    rows = []
    for clip in (clips, restored):
        frames = clip[:: max(1, len(clip) // 8)][:8, [0, 8, 16]]
        rows.append(rearrange(frames, "clip t h w c -> h (clip t w) c"))
    half = rows[0].shape[1] // 2
    sheet = torch.cat([rows[0][:, :half], rows[1][:, :half], rows[0][:, half:], rows[1][:, half:]])
    Image.fromarray((sheet * 255).round().byte().cpu().numpy()).save(path)


@torch.no_grad()
def measure_latents(model: vae.ClipVAE, scenes: world.Scenes) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation per latent channel over clips, float64 [16]."""
    found = []
    for part in torch.arange(len(scenes)).split(8):
        clips = picture.render(scenes[part.to(scenes.place.device)])
        found.append(model.encode(rearrange(clips, "b t h w c -> b t c h w") * 2 - 1)[0].double())
    values = rearrange(torch.cat(found), "b f c h w -> c (b f h w)")
    return values.mean(1), values.std(1)


def export(module, path: Path, scenes: world.Scenes) -> dict:
    """Fold the affine map, write fp16 in the host's layout, load it back into ``module``."""
    from safetensors.torch import save_file

    mean, std = measure_latents(vae.ClipVAE(module), scenes)
    vae.fold_affine(module, mean, std)
    state = {k: v.half().contiguous().cpu() for k, v in vae.to_host(module.state_dict()).items()}
    save_file(state, str(path), metadata=files.metadata("train_vae"))
    vae.load_host_file(module, path)
    return {"latent_mean": mean.tolist(), "latent_std": std.tolist(), "bytes": path.stat().st_size}


def train(args: argparse.Namespace) -> dict:
    """Train until a limit of the options is reached, going on from a saved state if there is one.

    Writes the weights, the state, figures and pictures.

    Returns:
        The last figures, as in ``vae.json``; ``passed`` says whether the gate was met.

    Raises:
        RuntimeError: when the loss is not finite before a state was saved.
    """
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(args.seed)
    began = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    module = vae.build(args.base)
    if args.begin_with:
        vae.load_host_file(module, args.begin_with)
        module.requires_grad_(True)
    module = module.to(device)
    training = Training(module, lr=args.lr, betas=(0.9, 0.99), ema_decay=0.999)
    resumed = training.load(args.state)
    generator = torch.Generator(device).manual_seed(args.seed + training.steps)
    scenes = training_scenes(args.stories, device)
    how = pick_convolutions(device, args.batch, args.base)
    model = vae.ClipVAE(module, how or "conv3d")
    plain = vae.ClipVAE(module)
    dtype = torch.bfloat16 if on_gpu else None

    colours = picture.palette(device)

    def draw(scenes):
        return picture.render(scenes, colours), picture.foreground(scenes)

    def loss_of(pixels, weight, noise):
        return loss_parts(model, pixels, weight, noise, dtype)

    if args.compile:
        draw, loss_of = (torch.compile(f, dynamic=False) for f in (draw, loss_of))
    first = torch.ones(world.FRAMES, device=device)
    first[0] = FIRST_FRAME_WEIGHT
    log = (args.out / "metrics.jsonl").open("a")

    def report(**more):
        kept = training.put(training.ema)
        found, *_ = evaluate(plain, device, stories=args.eval_stories)
        training.put(kept)
        found |= {"steps": training.steps, "seconds": round(training.seconds, 1), **more}
        log.write(json.dumps(found) + "\n")
        log.flush()
        logger.info("%6d steps %s", training.steps, found)

    logger.info("resumed=%s ready in %.1f s", resumed, time.perf_counter() - began)
    deadline = began + args.minutes * 60
    last, shown_at, since = None, training.steps, None
    next_report = training.seconds + args.report_seconds
    while time.perf_counter() < deadline and training.steps < args.max_steps:
        index = torch.randint(len(scenes), (args.batch,), generator=generator, device=device)
        clips, near = draw(wander(scenes[index], generator))
        pixels = rearrange(grey_tails(clips, generator), "b t h w c -> b t c h w") * 2 - 1
        weight = (1 + FOREGROUND_WEIGHT * near)[:, :, None] * first.view(-1, 1, 1, 1)
        shape = (
            args.batch,
            1 + (world.FRAMES - 1) // 4,
            vae.CHANNELS,
            world.SIZE // 8,
            world.SIZE // 8,
        )
        noise = torch.randn(shape, generator=generator, device=device)
        loss, square = loss_of(pixels, weight, noise)
        loss.backward()
        norm = training.apply(training.rate(args.total_minutes * 60))
        if since is None:  # the first step compiles, outside the training time
            if on_gpu:
                torch.cuda.synchronize()
            logger.info("first step done after %.1f s", time.perf_counter() - began)
            since = last = time.perf_counter()
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
            memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0
            text = "%6d loss %.4f psnr %.2f norm %.2f rate %.1e %.1f ms/step %.1f GiB"
            step_ms = 1e3 * (now - since) / max(1, training.steps - shown_at)
            psnr = 10 * math.log10(4 / max(square.item(), 1e-9))
            rate = training.rate(args.total_minutes * 60)
            logger.info(text, training.steps, value, psnr, norm.item(), rate, step_ms, memory)
            shown_at, since = training.steps, now
        if training.seconds > next_report:
            next_report = training.seconds + args.report_seconds
            report(loss=value)
            training.save(args.state)
            last = since = time.perf_counter()
            shown_at = training.steps
    training.save(args.state)
    training.put(training.ema)
    result = export(
        module,
        args.out / files.FILES["vae"],
        scenes[torch.arange(64) * 7 % len(scenes)],
    )
    referee = judge.Judge(device)
    found, clips, restored = evaluate(plain, device, stories=args.final_stories, referee=referee)
    result |= found | {"steps": training.steps, "seconds": training.seconds}
    rates = (found["restored"]["joint"], found["restored_places"]["joint"])
    result["passed"] = min(rates) >= GATE_JOINT and found["psnr"] >= GATE_PSNR
    result["command"] = " ".join(sys.argv)
    (args.out / "vae.json").write_text(json.dumps(result, indent=1))
    save_sheet(args.out / "vae.png", clips, restored)
    logger.info(
        "fp16 file, held-out: %s", {k: v for k, v in result.items() if not k.startswith("latent_")}
    )
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the program's options from ``argv``, or from the command line."""
    parser = argparse.ArgumentParser(prog="storymem.tiny.lab.train_vae", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--state", type=Path, required=True, help="folder of the resumable state")
    parser.add_argument("--begin-with", type=Path, help="a VAE file to go on from, at step 0")
    parser.add_argument("--minutes", type=float, default=9, help="wall-clock limit of this command")
    parser.add_argument("--total-minutes", type=float, default=15, help="training time in all")
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--base", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stories", type=int, default=20_000)
    parser.add_argument("--eval-stories", type=int, default=4)
    parser.add_argument("--final-stories", type=int, default=64)
    parser.add_argument("--report-seconds", type=float, default=60)
    parser.add_argument("--log-steps", type=int, default=250)
    parser.add_argument("--sync-steps", type=int, default=50, help="steps between clock readings")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    train(parse())
