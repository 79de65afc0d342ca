"""Two cards where there is none: the processor under two names, which the host tells apart."""

from __future__ import annotations

import threading
from collections import Counter

import torch

SECOND = torch.device("cpu", 1)  # its tensors lie beside those of "cpu"


def split(monkeypatch, model, max_gpus: int = 2):
    """A model from MultiGPU CFG Split, on a machine that seems to have two cards.

    Skips where the host has no such node.
    """
    import comfy.model_management
    import pytest

    import nodes

    if "MultiGPU_WorkUnits" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this host uses one card")
    first = model.load_device
    monkeypatch.setattr(
        comfy.model_management, "get_all_torch_devices", lambda exclude_current=False: [
            first, SECOND,
        ][exclude_current:],
    )  # fmt: skip
    return nodes.NODE_CLASS_MAPPINGS["MultiGPU_WorkUnits"].execute(model, max_gpus).result[0]


class Evaluations:
    """What ran where: every evaluation of the host's Wan by card and thread."""

    def __init__(self, monkeypatch):
        import comfy.model_base

        self.seen: list[tuple[object, int]] = []  # the model's id, the thread's
        self.shapes: list[tuple] = []
        self.cards: Counter = Counter()
        plain = comfy.model_base.BaseModel._apply_model

        def evaluate(model, x, t, c_concat, c_crossattn, control, options, **kwargs):
            kinds = tuple(options["cond_or_uncond"])
            self.cards[options.get("multigpu_thread_device"), kinds] += 1
            self.seen.append((id(model), threading.get_ident()))
            self.shapes.append(tuple(x.shape))
            return plain(model, x, t, c_concat, c_crossattn, control, options, **kwargs)

        monkeypatch.setattr(comfy.model_base.BaseModel, "_apply_model", evaluate)
