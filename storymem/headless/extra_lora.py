"""Any other Wan LoRA, read whole: what has a place in the model is applied, the rest is an error.

diffusers reads some of the ways in which LoRA files are named, and passes over the others, and over
a file of another model, without an error.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..files.messages import counted, listed
from ..files.weights_file import SAFETENSORS, read_metadata, read_outline, read_state_dict
from ..sampling.lora import LONGEST_KEY, LoraModule, check_tensor
from ..sampling.lora_kinds import TEXT_ENCODER, kind_of_file, other_adapter, wan_of_width
from ..sampling.lora_scale import StatedScale, stated_scale
from .lora_places import Places

LISTED = 4  # names in an error before "and N more"
NATIVE, KOHYA, DIFFUSERS = "diffusion_model.", "lora_unet_", "transformer."
_PART = re.compile(
    r"(?P<name>.+?)\.(?:lora_?(?:linear_layer\.)?[._]?(?P<slot>A|B|down|up)"
    r"(?P<adapter>\.(?!weight$|bias$)[^.]+)?(?:\.(?P<of>weight|bias))?"
    r"|(?P<other>alpha|diff|diff_b|diff_m|w_norm|b_norm))$"
)
# Parts of diffusers' own naming, and biases that it puts into a layer of their own.
_DIFFUSERS_PART = re.compile(r"\.(attn[12]\.|ffn\.net\.|condition_embedder\.|proj_out$|patch_emb)")
_IN_LAYER = re.compile(r"(attn[12]\.(to|add)_[^.]+(\.0)?|ffn\.net\.(0\.proj|2)|^proj_out)\.bias$")
_SLOT = {"A": "down", "down": "down", "B": "up", "up": "up"}
_OTHER = {"diff": "weight", "w_norm": "weight", "diff_m": "weight", "diff_b": "bias",
          "b_norm": "bias", "alpha": "alpha"}  # fmt: skip


Slots = dict[str, tuple[str, torch.Tensor]]  # down, up, alpha ...: name in the file, and tensor


@dataclass(frozen=True)
class ExtraLora:
    """What a file changes, by diffusers' names."""

    pairs: dict[str, LoraModule]  # of layers
    scales: dict[str, float]  # the factor of each pair
    changes: dict[str, torch.Tensor]  # added to whole parameters
    biases: dict[str, torch.Tensor]  # added by layers with a pair
    left_out: tuple[str, ...] = ()  # names in the file of what this model has no part for
    is_read_anew: bool = False  # whether diffusers alone left out something that counts

    def describe(self) -> str:
        """``400 layers, rank 32, scale 1, and 40 weights in full``."""
        kinds = sorted({(pair.rank, self.scales[part]) for part, pair in self.pairs.items()})
        words = [f"rank {rank}, scale {scale:.4g}" for rank, scale in kinds]
        told = [f"{counted(len(self.pairs), 'layer')}, {listed(words, LISTED)}"] if words else []
        if self.changes:
            told.append(f"{counted(len(self.changes), 'weight')} in full")
        return " and ".join(told)


def load_extra_lora(path: Path, places: Places, *, is_outline: bool = False) -> ExtraLora:
    """What a LoRA file changes in a model with these places.

    Args:
        is_outline: take no more than the header of a ``.safetensors`` file: large tensors are
            on the meta device, and their numbers are not looked at.

    Raises:
        ValueError: for a file that cannot be read, is of another kind or of another model, or has
            weights without a place in this one; naming the file, and some of the weights.
    """
    if not path.is_file():
        raise ValueError(f"there is no LoRA file at {path}; check the path")
    has_header = path.suffix.lower() in SAFETENSORS
    state = read_outline(path) if is_outline and has_header else read_state_dict(path)
    metadata = read_metadata(path) if has_header else {}
    has_alpha = any(key.endswith(".alpha") for key in state)
    stated = None if has_alpha else stated_scale(path, metadata)
    return read_extra_lora(state, places, path.name, stated)


def read_extra_lora(
    state: Mapping[str, torch.Tensor],
    places: Places,
    name: str = "the file",
    file_scale: StatedScale | None = None,
) -> ExtraLora:
    """What the tensors of a LoRA file change; ``load_extra_lora`` says more.

    Args:
        file_scale: what the file says for all pairs at once; None: it does not.
    """
    if found := other_adapter(state):
        kind, keys = found
        raise ValueError(
            f"{name} is a {kind}, not a plain LoRA ({_listed(keys)}), and cannot be applied here; "
            "use it in ComfyUI, or a plain LoRA"
        )
    parts, aside, unknown = _sort(state, places)
    if unknown or not parts:
        raise ValueError(_of_another_model(state, places, name, unknown or aside))
    pairs, biases, changes, named = {}, {}, {}, {}
    for part, slots in parts.items():
        for slot, (key, tensor) in slots.items():
            _check(slot, key, tensor, name)
        pair = _pair(slots, name)
        if pair:
            pairs[part] = pair
        elif not {"weight", "bias"} & slots.keys():
            key = next(iter(slots.values()))[0]
            raise ValueError(f"{name} is incomplete: {_listed([key])} stands without its pair")
        for kind in ("weight", "bias"):
            if kind in slots:
                key, tensor = slots[kind]
                named[places.parameter(part, kind)] = key
                changes[places.parameter(part, kind)] = tensor
        if "up_bias" in slots:
            biases[part] = slots["up_bias"][1]
    scales = {part: _scale(pair, file_scale) for part, pair in pairs.items()}
    biases = {part: _scaled(bias, scales[part]) for part, bias in biases.items() if part in pairs}
    result = ExtraLora(pairs, scales, changes, biases, tuple(aside))
    _check_shapes(result, places, name, named)
    return _as_diffusers_does(result, state)


def identity_note(path: Path, places: Places) -> str:
    """What a shot's key says of how the file is read: empty for what was always read so."""
    return " whole" if load_extra_lora(path, places, is_outline=True).is_read_anew else ""


def put_on(transformer: torch.nn.Module, lora: ExtraLora, adapter: str) -> None:
    """Add a LoRA to ``transformer`` at strength 1, its pairs as a peft adapter of that name."""
    state = {}
    for part, pair in lora.pairs.items():
        down, up = (t.float() if t.element_size() == 1 else t for t in (pair.down, pair.up))
        state[f"{DIFFUSERS}{part}.lora_A.weight"] = _scaled(down, lora.scales[part])
        state[f"{DIFFUSERS}{part}.lora_B.weight"] = up
        if part in lora.biases:
            state[f"{DIFFUSERS}{part}.lora_B.bias"] = lora.biases[part]
    if state:
        with warnings.catch_warnings():  # peft wonders at a second LoRA, which is meant
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            transformer.load_lora_adapter(state, prefix="transformer", adapter_name=adapter)
    modules = dict(transformer.named_modules())
    lost = [p for p in lora.pairs if adapter not in getattr(modules[p], "lora_A", ())]
    if lost:
        raise ValueError(f"diffusers did not take {_listed(lost)} of the LoRA; update diffusers")
    parameters = {
        name.replace(".base_layer.", "."): parameter
        for name, parameter in transformer.named_parameters()
    }
    for name, change in lora.changes.items():
        data = parameters[name].data
        parameters[name].data = (data.float() + change.to(data.device).float()).to(data.dtype)


# --- a file's names ------------------------------------------------------------------------------


def _sort(
    state: Mapping[str, torch.Tensor], places: Places
) -> tuple[dict[str, Slots], list[str], list[str]]:
    """Tensors by part and slot; names set aside, for this model has no such part; unknown ones."""
    parts: dict[str, Slots] = {}
    aside, unknown = [], []
    for key, tensor in state.items():
        match = _PART.match(key)
        if match is None:
            (aside if TEXT_ENCODER.match(key) else unknown).append(key)
            continue
        name = match["name"]
        if match["other"] == "diff_m":
            name += ".modulation" if not name.startswith(KOHYA) else "_modulation"
        part = places.find(name)
        if part is None or (match["of"] == "bias" and _SLOT[match["slot"]] == "down"):
            (aside if TEXT_ENCODER.match(key) else unknown).append(key)
            continue
        if places.is_image_part(part) or _has_other_channels(part, tensor, places):
            aside.append(key)
            continue
        slot = _OTHER.get(match["other"]) or _SLOT[match["slot"]]
        slot += "_bias" if match["of"] == "bias" else ""
        slots = parts.setdefault(part, {})
        if slot in slots:
            raise ValueError(
                f"one LoRA file holds {part} twice ({_listed([slots[slot][0], key])}), and it would"
                " be applied twice; use a file with one adapter, for one expert"
            )
        slots[slot] = (key, tensor)
    return parts, aside, unknown


def _has_other_channels(part: str, tensor: torch.Tensor, places: Places) -> bool:
    """Whether it is for a first layer that reads another number of channels: of a T2V model."""
    wanted = places.shape(part)
    is_first = part == "patch_embedding" and tensor.ndim == len(wanted or ()) > 2
    return is_first and tensor.shape[2:] == wanted[2:] and tensor.shape[1] != wanted[1]


def _of_another_model(state, places: Places, name: str, keys: list[str]) -> str:
    kind = kind_of_file({key: tuple(tensor.shape) for key, tensor in state.items()})
    seems = f"; it looks like {kind}" if kind else ""
    return (
        f"{name} cannot be applied: {len(keys)} of its {counted(len(state), 'weight')} have no "
        f"place in this model ({_listed(keys)}){seems}. Choose a LoRA made for Wan 2.2 A14B"
    )


# --- numbers and shapes --------------------------------------------------------------------------


def _check(slot: str, key: str, tensor: torch.Tensor, name: str) -> None:
    if slot in ("down", "up") and tensor.ndim > 2:  # of a convolution
        tensor = tensor.flatten(1)
    if slot not in ("down", "up", "alpha"):  # whole weights have any shape
        tensor = tensor.reshape(1, -1)
    check_tensor(slot, key, tensor, name)


def _pair(slots: Slots, name: str) -> LoraModule | None:
    if "down" not in slots and "up" not in slots:
        return None
    if "down" not in slots or "up" not in slots:
        key = (slots.get("down") or slots["up"])[0]
        raise ValueError(f"{name} is incomplete: the other half of {_listed([key])} is missing")
    alpha = float(slots["alpha"][1]) if "alpha" in slots else None
    (key, down), (_, up) = slots["down"], slots["up"]
    return LoraModule(down, up, alpha, is_peft="lora_A" in key)


def _scale(pair: LoraModule, file_scale: StatedScale | None) -> float:
    if file_scale is None or pair.alpha is not None:
        return pair.scale("standard")
    pair = replace(pair, alpha=file_scale.alpha)
    return pair.scale("rslora" if file_scale.is_rooted else "standard")


def _scaled(down: torch.Tensor, scale: float) -> torch.Tensor:
    return down if scale == 1 else down * scale


def _check_shapes(lora: ExtraLora, places: Places, name: str, named: Mapping[str, str]) -> None:
    wrong, width = [], 0
    for part, pair in lora.pairs.items():
        down, up, wanted = tuple(pair.down.shape), tuple(pair.up.shape), places.shape(part)
        fits = wanted is not None and len(down) == len(wanted) > 1 and down[1:] == wanted[1:]
        if not (fits and up[:2] == (wanted[0], pair.rank) and math.prod(up) == math.prod(up[:2])):
            wrong.append(f"{part} {[up[0], *down[1:]]} (model: {list(wanted or ())})")
            width = width or (down[1] if part.endswith(("to_q", "ffn.net.0.proj")) else 0)
    for part, bias in lora.biases.items():
        if tuple(bias.shape) != places.shape(part, "bias"):
            wrong.append(f"the bias of {part} {list(bias.shape)}")
    for parameter, change in lora.changes.items():
        wanted = places.shapes.get(parameter)
        if tuple(change.shape) != wanted:
            wrong.append(f"{named[parameter]} {list(change.shape)} (model: {list(wanted or ())})")
    if wrong:
        model = wan_of_width(width)
        made_for = f"{model}" if model and width != places.width else "another model"
        raise ValueError(
            f"{name} was made for {made_for}: {_listed(wrong)}. Choose a LoRA made for Wan 2.2 A14B"
        )


# --- what diffusers alone makes of it ------------------------------------------------------------


def _as_diffusers_does(lora: ExtraLora, state: Mapping[str, torch.Tensor]) -> ExtraLora:
    """The same change in the arithmetic of diffusers, to the bit, for files that it reads.

    Finished shots were made so. It adds a bias within the layer of a pair, and takes the whole
    weight of the last layer for a pair with the identity.
    """
    if any(key.startswith(KOHYA) for key in state):  # read whole, or not at all
        return lora
    if not all(key.startswith(NATIVE) for key in state):
        own = all(_is_own(key, tensor) for key, tensor in state.items())
        return replace(lora, is_read_anew=not own or any(s != 1 for s in lora.scales.values()))
    pairs, scales, changes, biases = map(dict, (lora.pairs, lora.scales, lora.changes, lora.biases))
    if "proj_out" not in pairs and {"proj_out.weight", "proj_out.bias"} <= changes.keys():
        whole = changes.pop("proj_out.weight")
        same = torch.eye(len(whole), dtype=whole.dtype)
        pairs["proj_out"], scales["proj_out"] = LoraModule(whole, same, None, is_peft=False), 1.0
    for part in pairs:
        if (bias := changes.pop(f"{part}.bias", None)) is not None:
            biases[part] = bias
    passed_over = [
        n for n, change in changes.items() if not _IN_LAYER.search(n) and _counts(change)
    ]
    return ExtraLora(pairs, scales, changes, biases, lora.left_out, bool(passed_over))


def _is_own(key: str, tensor: torch.Tensor) -> bool:
    """Whether diffusers alone reads a weight, or nothing is lost when it does not."""
    match = _PART.match(key)
    if match is None or not key.startswith(DIFFUSERS):
        return TEXT_ENCODER.match(key) is not None
    if match["other"]:
        return match["other"] == "alpha" or not _counts(tensor)
    return not match["adapter"] and _DIFFUSERS_PART.search(match["name"]) is not None


def _counts(change: torch.Tensor) -> bool:
    return change.is_meta or bool(change.count_nonzero())


def _listed(names) -> str:
    return listed(names, LISTED, LONGEST_KEY)
