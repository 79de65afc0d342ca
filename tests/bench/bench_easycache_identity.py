"""Who is known on the tiny model in the host, with the host's EasyCache around a cached memory.

    python tests/bench/bench_easycache_identity.py --out OUT --stories 32

Plays the lab's held-out stories with the host's own sampler, one shot at a time, with and without
EasyCache at its usual settings, with exact and with cached memory, and asks the lab's judge. Needs
a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI). Each line is written when it is known: rates, and
how many evaluations of the model a shot took, and paired differences.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import json
import logging
import sys
from collections import Counter
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import torch
from bench_cached_memory import load_pack
from bench_m2v import HOST, PACK

SHIFT, STEPS = 3.0, 20
USUAL = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95}  # of EasyCache
CASES = ("easycache", "easycache_cached", "cached", "exact")


class _Named(type):
    """Classes that have every name, each of them such a class."""

    @staticmethod
    def empty(name: str) -> _Named:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Named(name, (), {})

    def __getattr__(cls, name):
        return _Named.empty(name)


class _Empty(MetaPathFinder, Loader):
    """Modules of libraries that are not installed, with an empty class for every name."""

    def __init__(self, libraries):
        self.libraries = set(libraries)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.libraries:
            return ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module):
        module.__getattr__ = _Named.empty


def stand_in_for_missing() -> None:
    """Let the host's modules load where libraries that no run here uses are not installed."""
    sys.meta_path.append(_Empty(n for n in ("torchsde", "av") if find_spec(n) is None))


class HostPainter:
    """Shots by the host's sampler; a painter as ``player.play`` wants it."""

    def __init__(self, painter, pack, path):
        import comfy.model_sampling
        import comfy.sample
        import comfy.samplers
        import comfy.sd

        self.painter, self.pack, self.comfy = painter, pack, comfy
        self.codec = painter.codec
        self.model = comfy.sd.load_diffusion_model(str(path))
        self.case, self.evaluations = "exact", Counter()

        class Sampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
            pass

        self.sampling = Sampling(self.model.model.model_config)
        self.sampling.set_parameters(shift=SHIFT, multiplier=1000)

    def __call__(self, requests, rope_shift):
        return torch.cat([self._shot(request, rope_shift) for request in requests])

    def _shot(self, request, rope_shift):
        from storymem.headless.sampling import draw_noise
        from storymem.tiny import dit, text

        painter, comfy, count = self.painter, self.comfy, len(request.memory)
        known = painter._given([request.given])
        given = 0 if request.given is None else (len(request.given) + 3) // 4
        mask = torch.ones(1, 1, count + known.shape[1], *known.shape[-2:])
        mask[:, :, count : count + given] = mask[:, :, :count] = 0
        if count:
            known = torch.cat([painter._memory([request.memory]), known], 1)
        frames, side = known.shape[1] - count, known.shape[-1]
        noise = draw_noise(request.seed, count, frames, side, side)
        model = self.model.clone()
        model.add_object_patch("model_sampling", self.sampling)
        cond = {
            "concat_latent_image": self.model.model.process_latent_out(
                known.transpose(1, 2).float().cpu()
            ),
            "concat_mask": mask,
        }
        prompt = [[text.encode(request.prompt)[None], cond]]
        if count:
            plain = model.get_model_object("diffusion_model.rope_encode")
            encode = self.pack.rope.encode_at(plain, range(-count * rope_shift, 0, rope_shift))
            model.add_object_patch("diffusion_model.rope_encode", encode)
        if self.case.startswith("easycache"):
            from comfy_extras.nodes_easycache import EasyCacheNode

            model = EasyCacheNode.execute(model, verbose=False, **USUAL).result[0]
        if self.case.endswith("cached") and count:
            refresh = self.pack.memory_refresh.Refresh(True)
            self.pack.cached_memory.cache_memory(model, count, refresh)

        def counted(module, args):
            whole = args[0].shape[2] == count + frames
            self.evaluations["whole" if whole else "shot"] += 1

        handle = model.model.diffusion_model.patch_embedding.register_forward_pre_hook(counted)
        sigmas = dit.shifted(torch.linspace(1, 0, STEPS + 1))
        made = comfy.sample.sample_custom(
            model, noise, 1.0, comfy.samplers.sampler_object("euler"), sigmas, prompt, prompt,
            torch.zeros_like(noise), disable_pbar=True, seed=request.seed,
        )  # fmt: skip
        handle.remove()
        self.evaluations["shots"] += 1
        latents = self.model.model.process_latent_in(made.cpu())[:, :, count:]
        return self.codec.decode(latents.transpose(1, 2).float().to(self.codec.device))


def main() -> None:
    sys.path.insert(0, str(PACK))
    from storymem.tiny import files
    from storymem.tiny.lab import evaluate, measures, trials

    parser = trials.parser("bench_easycache_identity", __doc__, evaluate.CASES)
    parser.add_argument("--variants", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--check", action="store_true", help="one shot against the lab's own")
    options = parser.parse_args()
    options.shots, options.long_shots = evaluate.SHOTS, evaluate.LONG_SHOTS
    is_gpu = options.device != "cpu"
    own, referee = trials.prepare(options)
    sys.argv = sys.argv[:1] + ([] if is_gpu else ["--cpu"])
    sys.path.insert(0, str(HOST))
    stand_in_for_missing()
    import comfy.options

    comfy.options.enable_args_parsing(not is_gpu)
    pack = load_pack()
    paint = HostPainter(own, pack, files.require("diffusion_models"))
    logging.getLogger().setLevel(logging.ERROR)
    work = evaluate.Evaluation(options, paint, referee)
    stories = work.stories
    if options.check:
        seen = {}
        with torch.inference_mode():
            for name, one in (("host", paint), ("lab", own)):
                work.paint = one
                seen[name] = work.play(stories, evaluate.FULL).shots[0][1].float()
        gap = (seen["host"] - seen["lab"]).abs().mean()
        print(json.dumps({"pixels apart, of 255": round(gap.item(), 3)}))
        return
    by_name = {case.name: case for case in evaluate.CASES}
    for name in options.cases or ["generated", "full"]:
        right = {}
        for paint.case in options.variants:
            paint.evaluations.clear()
            with torch.inference_mode():
                played = work.play(stories, by_name[name])
            seen = work.see(played, stories)
            of_portraits = by_name[name].portraits
            asked = stories.visible
            if of_portraits:
                right[paint.case] = (seen == stories.look[:, None]).all(-1)
                rate = measures.identity(seen, stories.look, asked)["joint"]
            else:
                right[paint.case] = measures.is_kept(seen, asked)
                rate = measures.kept(seen, asked)["joint"]
                asked = measures.later_appearances(asked)
            shots = paint.evaluations.pop("shots")
            counts = {k: round(v / shots, 2) for k, v in paint.evaluations.items()}
            gaps = {
                f"less {other}": measures.difference(right[paint.case], right[other], asked)
                for other in right
                if other != paint.case
            }
            of_stories = {
                "right": (right[paint.case] & asked).flatten(1).sum(1).tolist(),
                "count": asked.flatten(1).sum(1).tolist(),
            }
            print(json.dumps({"stories": name, "case": paint.case, "rate": rate["rate"],
                              "count": rate["count"], "interval": rate["stories"],
                              "evaluations of a shot": counts, "by_story": of_stories, **gaps}),
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
