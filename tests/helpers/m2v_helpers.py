"""The pack's M2V nodes called as the host calls them, with the tiny models of the host suite."""

from __future__ import annotations

import torch

from helpers.fakes import noise_image
from helpers.stock_graphs import loaders

DEFAULTS = {
    "width": 48,
    "height": 32,
    "length": 9,
    "size_rule": "exact",
    "seed": 7,
    "steps": 4,
    "cfg": 3.5,
    "sampler_name": "euler",
    "scheduler": "simple",
}


def rel_l2(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Relative L2 distance, in float64."""
    value, reference = value.double().cpu(), reference.double().cpu()
    return float((value - reference).norm() / reference.norm())


class M2V:
    """Loaded tiny models, and short ways to call the pack's nodes on them."""

    def __init__(self, host):
        self.host = host
        graph = loaders()
        for expert in ("high", "low"):
            graph[f"t2v_{expert}"] = {
                "class_type": "UNETLoader",
                "inputs": {
                    "unet_name": f"tiny_t2v_{expert}.safetensors",
                    "weight_dtype": "default",
                },
            }
        names = [name for name in graph if name != "clip"]
        for name in names:
            graph[f"record {name}"] = {
                "class_type": "StoryMemTestRecord",
                "inputs": {"value": [name, 0], "key": name},
            }
        found = host.run(graph)
        self.high, self.low = found["high"], found["low"]
        self.t2v_high, self.t2v_low = found["t2v_high"], found["t2v_low"]
        self.vae, self.pos, self.neg = found["vae"], found["pos"], found["neg"]

    def node(self, module: str, name: str):
        return getattr(self.host.pack(f"nodes.{module}"), name)

    def images(self, count: int, *, seed: int = 100, height: int = 48, width: int = 64):
        frames = [noise_image(seed + i, height, width) for i in range(count)]
        return torch.stack(frames).float() / 255

    def bank(self, count: int, *, seed: int = 0, height: int = 48, width: int = 64, **kwargs):
        module = self.host.pack("storymem.memory.bank")
        frames = tuple(
            self.host.pack("storymem.memory.frame").MemoryFrame(
                noise_image(seed + i, height, width)
            )
            for i in range(count)
        )
        return module.MemoryBank(frames=frames, **kwargs)

    def shot(self, *, index=0, mode="m2v", cut=True, **kwargs):
        shot = self.host.pack("storymem.script.story").Shot(
            index=index, scene=1, number=index + 1, prompt="a cat", cut=cut, **kwargs
        )
        plan = self.host.pack("storymem.sampling.continuity").ShotPlan
        return plan(shot=shot, story="tale", prompt="a cat", mode=mode)

    def sample(self, **changes) -> torch.Tensor:
        """M2V Sampler; ``changes`` are its inputs. The shot's latent."""
        return self.sample_with_identity(**changes)[0]["samples"]

    def sample_with_identity(self, **changes) -> tuple:
        """The same: all of the node's outputs."""
        inputs = {
            "model_high": self.high,
            "model_low": self.low,
            "positive": self.pos,
            "negative": self.neg,
            "vae": self.vae,
            **DEFAULTS,
            **changes,
        }
        with torch.inference_mode():
            return self.node("sampling.sampler", "M2VSampler").execute(**inputs).result

    def condition(self, **changes) -> tuple:
        """M2V Conditioning: positive, negative, latent, noise, memory_frames."""
        return self.condition_in_time(**changes)[:5]

    def condition_in_time(self, **changes) -> tuple:
        """The same, and memory_positions."""
        inputs = {
            "positive": self.pos,
            "negative": self.neg,
            "vae": self.vae,
            **{k: DEFAULTS[k] for k in ("width", "height", "length", "size_rule", "seed")},
            "continuity": "auto",
            **changes,
        }
        with torch.inference_mode():
            return self.node("sampling.conditioning", "M2VConditioning").execute(**inputs).result

    def patch(self, model, memory_frames: int, rope_shift: int = 5):
        """M2V Model Patch."""
        node = self.node("sampling.model_patch", "M2VModelPatch")
        return node.execute(model, memory_frames, rope_shift).result[0]
