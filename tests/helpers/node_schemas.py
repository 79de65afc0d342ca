"""The nodes' schemas as plain values: what a saved workflow rests on, and what people read of it.

``saved_form`` is what the frozen snapshot keeps; ``breaking_changes`` compares two of them.
``texts`` is what ``locales/<language>/nodeDefs.json`` holds, in the host's form. Only ``load_pack``
needs the host.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import tempfile
from pathlib import Path

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
HOST_LISTS = {"sampler_name": "the host's samplers", "scheduler": "the host's schedulers"}
FILE_WORDS = ("file", "lora", "name", "folder", "head", "model")  # in ids of inputs that list files
NOT_IN_MESSAGES = re.compile(r"[{}@|]")  # have a meaning in the page's message format


def load_pack(host: Path, pack: Path) -> dict[str, type]:
    """The pack's node classes by id, loaded by the host in this process, with no files in reach."""
    base = Path(tempfile.mkdtemp(prefix="storymem_schemas_"))
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (base / name).mkdir()
    sys.argv = ["main.py", "--cpu", "--base-directory", str(base)]
    sys.path.insert(0, str(host))
    import comfy.options

    comfy.options.enable_args_parsing()
    import utils.extra_config  # noqa: F401, I001  must come before the host's nodes
    import nodes

    if not asyncio.run(nodes.load_custom_node(str(pack))):
        raise SystemExit("the pack did not load")
    return pack_nodes(sys.modules[str(pack).replace(".", "_x_")])


def pack_nodes(module) -> dict[str, type]:
    """The node classes of the loaded pack by id, in its own order."""
    extension = asyncio.run(module.comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


def for_artists(node_classes: dict[str, type]) -> dict[str, type]:
    """Without the nodes that only the loop adds to a running prompt."""
    return {
        node_id: node
        for node_id, node in node_classes.items()
        if not getattr(node.GET_SCHEMA(), "is_dev_only", False)
    }


def texts(node) -> dict:
    """Everything of a node that is read by people, as a locale file has it."""
    schema, described = node.GET_SCHEMA(), node.GET_NODE_INFO_V1()
    inputs = {
        part.id: {"name": part.display_name or part.id, "tooltip": part.tooltip}
        for part in schema.inputs
    }
    if any(getattr(part, "control_after_generate", None) for part in schema.inputs):
        inputs["control_after_generate"] = {"name": "control after generate"}
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": inputs,
        "outputs": {
            str(place): {"name": name, "tooltip": part.tooltip}
            for place, (name, part) in enumerate(
                zip(described["output_name"], schema.outputs, strict=True)
            )
        },
    }


def saved_form(node) -> dict:
    """What workflows and prompts that people saved rely on, in the page's own order of inputs."""
    described = node.GET_NODE_INFO_V1()
    inputs = []
    for section in ("required", "optional"):
        for name, spec in described["input"].get(section, {}).items():
            options = spec[1] if len(spec) > 1 else {}
            one = {"name": name, "type": spec[0], "optional": section == "optional"}
            if "default" in options:
                one["default"] = options["default"]
            for key in ("min", "max", "step", "round", "multiline", "advanced"):
                value = options.get(key)
                if value is not None and value is not False:  # 0 is a limit like any other
                    one[key] = value
            if control := options.get("control_after_generate"):  # one widget more
                one["control_after_generate"] = str(getattr(control, "value", control))
            if spec[0] == "COMBO":
                one["options"] = _options(name, options["options"])
            inputs.append(one)
    outputs = zip(described["output_name"], described["output"], strict=True)
    return {
        "display_name": described["display_name"],
        "category": described["category"],
        "inputs": inputs,
        "outputs": [{"name": name, "type": kind} for name, kind in outputs],
    }


def _options(name: str, values: list) -> list | str:
    if name in HOST_LISTS:
        return HOST_LISTS[name]
    return "files" if any(word in name for word in FILE_WORDS) else list(values)


def breaking_changes(frozen: dict, current: dict) -> list[str]:
    """What would stop a saved workflow or prompt from meaning what it did, in words."""
    found = []
    for node_id, old in frozen.items():
        new = current.get(node_id)
        if new is None:
            found.append(f"{node_id} is gone: deprecate a node, do not remove it")
            continue
        found += [f"{node_id}{problem}" for problem in _of_inputs(old["inputs"], new["inputs"])]
        kept = new["outputs"][: len(old["outputs"])]
        if kept != old["outputs"]:
            names = [[o["name"] for o in outputs] for outputs in (old["outputs"], kept)]
            found.append(
                f"{node_id}: outputs were {names[0]} and are now {names[1]}, or changed type"
            )
    return found


def _of_inputs(old: list[dict], new: list[dict]) -> list[str]:
    found, now = [], {one["name"]: one for one in new}
    for one in old:
        if one["name"] not in now:
            found.append(f".{one['name']} is gone")
        else:
            found += [f".{one['name']}{p}" for p in _of_input(one, now[one["name"]])]
    known = {one["name"] for one in old}
    found += [
        f".{one['name']} is new and required, so saved prompts lack it: make it optional"
        for one in new
        if one["name"] not in known and not one["optional"]
    ]
    for kind, chosen in (("widgets", True), ("sockets", False)):
        before = [one["name"] for one in old if (one["type"] in WIDGETS) is chosen]
        after = [one["name"] for one in new if (one["type"] in WIDGETS) is chosen]
        if set(before) <= set(after) and after[: len(before)] != before:
            found.append(f": its {kind} were {before} and are now {after}: add new ones at the end")
    return found


def _of_input(old: dict, new: dict) -> list[str]:
    found = []
    if new["optional"] < old["optional"]:
        found.append(" was optional and is now required")
    for key in ("type", "default", "step", "round", "multiline", "control_after_generate"):
        if old.get(key) != new.get(key):
            found.append(f": {key} was {old.get(key)!r} and is now {new.get(key)!r}")
    if new.get("min", float("-inf")) > old.get("min", float("-inf")):
        found.append(f": min was {old.get('min')} and is now {new['min']}")
    if new.get("max", float("inf")) < old.get("max", float("inf")):
        found.append(f": max was {old.get('max')} and is now {new['max']}")
    before, after = old.get("options"), new.get("options")
    is_list = isinstance(before, list) and isinstance(after, list)
    if before != after and not (is_list and after[: len(before)] == before):
        found.append(f": options were {before} and are now {after}")
    return found


def shape(tree, path: str = "") -> set[str]:
    """Every place in a tree of texts that holds one."""
    if not isinstance(tree, dict):
        return {path}
    return {p for key, value in tree.items() for p in shape(value, f"{path}/{key}")}


def leaves(tree, path: str = "") -> dict[str, str]:
    """Every text of a tree by its place."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {p: t for key, value in tree.items() for p, t in leaves(value, f"{path}/{key}").items()}


def fingerprints(tree) -> dict[str, str]:
    """Every text of a tree by its place, as a short hash: what a translation was made from."""
    return {p: hashlib.sha256(t.encode()).hexdigest()[:12] for p, t in leaves(tree).items()}
