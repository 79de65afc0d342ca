"""Records ``tests/golden/released_run.json`` and ``.safetensors`` with the released code itself.

    git clone https://github.com/Kevin-thu/StoryMem <checkout>  # recorded at e027735, 2025-12-26
    python tests/tools/make_released_run.py <checkout>

Runs its ``WanT2V.generate`` and ``WanM2V.generate`` on the tiny seeded models of
``tests/helpers/released_run.py``, on the CPU in float32. Needs torch, torchvision, diffusers,
transformers, peft, av, einops, ftfy and safetensors. What is put in the place of its parts:

- flash attention: torch's attention in float32 (flash attention computes in bfloat16, on CUDA);
- the noise that it draws, and the text encoder: given tensors; the weights: tiny ones;
- ``easydict`` and ``decord``: a few lines, so that neither has to be installed;
- time positions of memory (January 2026), and MI2V's first frame, where a case says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
from helpers import released_run as run  # noqa: E402
from helpers.released_forward import released_rotation, turn  # noqa: E402

CPU = torch.device("cpu")
ABOUT = (
    "The generate() of the released StoryMem code (Kevin-thu/StoryMem, commit e027735 of "
    "2025-12-26), run on tiny seeded models on the CPU in float32 by "
    "tests/tools/make_released_run.py; weights, noise, texts and pictures are those of "
    "tests/helpers/released_run.py. Sampler 'unipc', the release's default; boundaries 0.9 (I2V) "
    "and 0.875 (T2V). For each case: the whole timesteps that the model was handed, the expert of "
    "each step (h, l), and in the .safetensors file the shot's latents at the end (normalised, "
    "memory taken off). 'encoded' are the latents that its VAE gave. Two things are put right in "
    "it: time positions of memory (S = 5, as the authors did in January 2026; cases named rope1 "
    "are the code untouched), and MI2V's first-frame latents, which it overwrites with grey while "
    "the mask says known (cases named overwritten are the code untouched). Equality to 1e-5 "
    "relative is meant."
)


class AttributeDict(dict):
    """What the released configurations need of ``easydict``."""

    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


class PictureReader:
    """What ``generate`` needs of ``decord.VideoReader``, on a file of frames without loss."""

    def __init__(self, path: str, ctx=None):
        self.frames = np.load(path)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int):
        return types.SimpleNamespace(asnumpy=lambda: self.frames[index])


def import_released(checkout: Path) -> types.SimpleNamespace:
    """The released modules, without the package's own ``__init__`` and what it would need."""
    package = types.ModuleType("wan")
    package.__path__ = [str(checkout / "wan")]
    sys.modules["wan"] = package
    sys.modules.setdefault("easydict", types.ModuleType("easydict")).EasyDict = AttributeDict
    decord = sys.modules["decord"] = types.ModuleType("decord")
    decord.VideoReader, decord.cpu = PictureReader, lambda: None
    with mock.patch.object(torch.cuda, "current_device", return_value=CPU):  # a default argument
        import wan.configs
        import wan.memory2video
        import wan.modules.model
        import wan.modules.vae2_1
        import wan.text2video

    wan.modules.model.flash_attention = attend
    return types.SimpleNamespace(
        configs=wan.configs.WAN_CONFIGS,
        model=wan.modules.model,
        vae=wan.modules.vae2_1,
        pipelines={"i2v": wan.memory2video.WanM2V, "t2v": wan.text2video.WanT2V},
    )


def attend(q, k, v, k_lens=None, window_size=(-1, -1)) -> torch.Tensor:
    """Plain attention of ``[B, tokens, heads, 128]`` in float32."""
    if window_size != (-1, -1) or (k_lens is not None and k_lens.tolist() != [k.shape[1]]):
        raise ValueError("only whole sequences without padding are meant here")
    q, k, v = (a.transpose(1, 2) for a in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def make_vae(released, shapes: dict):
    """The released VAE with tiny weights; their shapes go into ``shapes``."""

    def tiny(pretrained_path, z_dim):
        model = released.vae.WanVAE_(
            dim=run.VAE_DIM, z_dim=z_dim, temperal_downsample=[False, True, True]
        )
        shapes.update({key: list(value.shape) for key, value in model.state_dict().items()})
        model.load_state_dict(run.vae_weights(shapes))
        return model

    with mock.patch.object(released.vae, "_video_vae", tiny):
        return released.vae.Wan2_1_VAE(device=CPU)


def make_expert(released, kind: str, index: int, calls: list):
    model = released.model.WanModel(
        model_type=kind,
        text_len=run.TEXT_LENGTH,
        in_dim=run.EXPERTS[kind][0],
        dim=run.DIM,
        ffn_dim=run.FFN,
        text_dim=run.TEXT,
        num_heads=run.DIM // 128,
        num_layers=run.LAYERS,
    )
    model.load_state_dict(run.experts(kind)[index])

    def note(module, args, kwargs):
        calls.append(("hl"[index], kwargs["t"].tolist(), kwargs["t"].dtype, kwargs.get("y")))

    model.register_forward_pre_hook(note, with_kwargs=True)
    return model.eval().requires_grad_(False)


def make_pipeline(released, kind: str, vae, calls: list):
    """A released pipeline with tiny parts; only its ``__init__``, which loads files, is not run."""
    config = released.configs["t2v-A14B" if kind == "t2v" else "m2v-A14B"]
    pipeline = object.__new__(released.pipelines[kind])
    texts = {"a shot": "positive", config.sample_neg_prompt: "negative"}
    pipeline.__dict__ |= {
        "device": CPU,
        "config": config,
        "rank": 0,
        "sp_size": 1,
        "t5_cpu": True,
        "init_on_cpu": False,
        "param_dtype": torch.float32,
        "num_train_timesteps": config.num_train_timesteps,
        "boundary": config.boundary,
        "vae_stride": config.vae_stride,
        "patch_size": config.patch_size,
        "sample_neg_prompt": config.sample_neg_prompt,
        "text_encoder": lambda wanted, device: [run.text(texts[wanted[0]], padded=False)[0]],
        "vae": vae,
        "high_noise_model": make_expert(released, kind, 0, calls),
        "low_noise_model": make_expert(released, kind, 1, calls),
    }
    if config.boundary != run.BOUNDARY[kind]:
        raise ValueError(f"the released boundary of {kind} is {config.boundary}")
    return pipeline


@contextlib.contextmanager
def put_right(released, case: run.Case, vae) -> Iterator[list[torch.Tensor]]:
    """Positions and first frame as the case wants them; gives the list of encoded videos."""
    encoded, decoded = [], []
    encode, decode = vae.encode, vae.decode

    def noted_encode(videos):
        is_overwriting = case.mode == "mi2v" and len(encoded) == 2  # after memory and first frame
        latent = encoded[1] if is_overwriting and not case.overwritten else encode(videos)
        encoded.append(latent)
        return latent

    def noted_decode(latents):
        decoded.append(latents)
        return decode(latents)

    def rotate(x, grid_sizes, freqs):
        _, rows, columns = grid_sizes[0].tolist()
        return turn(x, released_rotation(run.positions(case), rows, columns, x.shape[-1]))

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(vae, "encode", noted_encode))
        stack.enter_context(mock.patch.object(vae, "decode", noted_decode))
        if case.kind == "i2v" and case.rope_shift != 1:
            stack.enter_context(mock.patch.object(released.model, "rope_apply", rotate))
        yield encoded, decoded


def write_pictures(case: run.Case, folder: Path) -> dict:
    """The files that ``generate`` reads, as its arguments."""
    paths = []
    for i, picture in enumerate(run.memory_pictures(case.memory)):
        paths.append(str(folder / f"memory{i}.png"))
        Image.fromarray(picture.numpy()).save(paths[-1])
    files: dict = {"memory_files": paths}
    given = run.given_pictures(case.mode)
    if case.mode == "mi2v":
        files["first_frame_file"] = str(folder / "first.png")
        Image.fromarray(given[0].numpy()).save(files["first_frame_file"])
    elif case.mode == "mm2v":
        files["motion_frames_file"] = str(folder / "motion.npy")
        np.save(files["motion_frames_file"], given.numpy())
    return files


def record(released, pipeline, case: run.Case, calls: list) -> tuple[dict, dict]:
    """Run one case; what goes into the JSON, and latents by name."""
    noise = run.noise(case)[0]

    def given_noise(*size, **options):
        if size != tuple(noise.shape):
            raise ValueError(f"noise of {size} was wanted, but {case} has {tuple(noise.shape)}")
        return noise.clone()

    settings = {
        "frame_num": run.LENGTH,
        "shift": case.shift,
        "sampling_steps": case.steps,
        "guide_scale": (case.cfg_low or case.cfg, case.cfg),
        "seed": 0,
        "offload_model": False,
    }
    calls.clear()
    with tempfile.TemporaryDirectory() as folder, put_right(released, case, pipeline.vae) as notes:
        if case.kind == "t2v":
            settings["size"] = (run.WIDTH, run.HEIGHT)
        else:
            settings |= write_pictures(case, Path(folder))
            settings["max_area"] = run.WIDTH * run.HEIGHT
        with mock.patch.object(torch, "randn", side_effect=given_noise) as draws:
            pipeline.generate("a shot", **settings)
    encoded, decoded = notes
    if draws.call_count != 1:
        raise ValueError(f"{case} drew noise {draws.call_count} times")
    if [call[:2] for call in calls[::2]] != [call[:2] for call in calls[1::2]]:
        raise ValueError(f"{case} has passes of different timesteps or experts")
    tensors = {
        f"latents {case}": decoded[-1].reshape(1, run.CHANNELS, run.FRAMES, *noise.shape[2:])
    }
    if case.kind == "i2v":
        kind = "grey" if case.mode == "m2v" or case.overwritten else case.mode
        tensors[f"encoded {kind}"] = encoded[-1]
        if case.memory == len(run.MEMORY_SIZES):
            tensors["encoded memory"] = encoded[0].transpose(0, 2)
        tensors[f"condition {case}"] = calls[0][3][0][None]
    steps = calls[::2]
    if any(dtype != torch.int64 for _, _, dtype, _ in steps):
        raise ValueError(f"{case} was handed timesteps that are not whole")
    case_record = {
        "timesteps": [t for _, (t,), _, _ in steps],
        "experts": "".join(expert for expert, *_ in steps),
    }
    return case_record, tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="a checkout of the released repository")
    parser.add_argument("--out", type=Path, default=run.GOLDEN)
    args = parser.parse_args()
    if not (args.checkout / "wan" / "memory2video.py").is_file():
        parser.error(f"{args.checkout} is no checkout of StoryMem: wan/memory2video.py is missing")
    released = import_released(args.checkout)
    vae_shapes, calls = {}, []
    vae = make_vae(released, vae_shapes)
    pipelines = {kind: make_pipeline(released, kind, vae, calls) for kind in run.EXPERTS}
    cases, tensors = {}, {}
    for case in run.CASES:
        cases[str(case)], found = record(released, pipelines[case.kind], case, calls)
        for name, value in found.items():
            if not torch.equal(tensors.setdefault(name, value), value):
                raise ValueError(f"{name} differs between cases")
        print(case, cases[str(case)]["experts"], flush=True)  # noqa: T201
    names = [name for name in tensors if name.startswith("condition")]
    conditions = {name: tensors.pop(name) for name in names}
    tensors = {name: value.float().contiguous().clone() for name, value in tensors.items()}
    save_file(tensors, args.out / "released_run.safetensors")
    parts = {"about": ABOUT, "cases": cases, "vae_shapes": vae_shapes}
    text = json.dumps(parts, separators=(",", ":")).replace("},", "},\n")
    (args.out / "released_run.json").write_text(text + "\n", encoding="utf-8")
    for name, condition in conditions.items():  # as the helper puts together, but for VAE batches
        (case,) = (case for case in run.CASES if name == f"condition {case}")
        torch.testing.assert_close(run.condition(case), condition, rtol=0, atol=1e-5)


if __name__ == "__main__":
    main()
