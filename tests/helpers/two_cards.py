"""Two cards where there is none: the processor under two names, which the host tells apart."""

from __future__ import annotations

import threading
from collections import Counter

import torch

FIRST = torch.device("cpu")
SECOND = torch.device("cpu", 1)  # its tensors lie beside those of "cpu"


def see_two_cards(monkeypatch, first=FIRST) -> None:
    """Let the host see two cards."""
    import comfy.model_management

    def devices(exclude_current=False):
        return [first, SECOND][exclude_current:]

    monkeypatch.setattr(comfy.model_management, "get_all_torch_devices", devices)


def split(monkeypatch, model, max_gpus: int = 2):
    """A model from MultiGPU CFG Split, on a machine that seems to have two cards."""
    import nodes

    see_two_cards(monkeypatch, model.load_device)
    return nodes.NODE_CLASS_MAPPINGS["MultiGPU_WorkUnits"].execute(model, max_gpus).result[0]


class Evaluations:
    """What ran where: every evaluation of the host's Wan."""

    def __init__(self, monkeypatch):
        import comfy.ldm.wan.model
        import comfy.model_base

        self.cards: Counter = Counter()  # by card (None: the only one) and prompts
        self.models: list[int] = []  # ids
        self.threads: list[int] = []
        self.frames: dict = {}  # latent frames that the network saw, by card
        plain = comfy.model_base.BaseModel._apply_model
        network = comfy.ldm.wan.model.WanModel._forward

        def evaluate(model, x, t, c_concat, c_crossattn, control, options, **kwargs):
            kinds = tuple(options["cond_or_uncond"])
            self.cards[options.get("multigpu_thread_device"), kinds] += 1
            self.models.append(id(model))
            self.threads.append(threading.get_ident())
            return plain(model, x, t, c_concat, c_crossattn, control, options, **kwargs)

        def forward(model, x, timestep, context, *args, **kwargs):
            options = next(
                a for a in (*args, kwargs.get("transformer_options")) if isinstance(a, dict)
            )
            card = options.get("multigpu_thread_device")
            self.frames.setdefault(card, []).append(x.shape[2])
            return network(model, x, timestep, context, *args, **kwargs)

        monkeypatch.setattr(comfy.model_base.BaseModel, "_apply_model", evaluate)
        monkeypatch.setattr(comfy.ldm.wan.model.WanModel, "_forward", forward)
