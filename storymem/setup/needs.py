"""What a workflow needs: node classes and files, whether they are there, and whether each file is
what it is wired as."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..files.outline import ENDINGS
from ..sampling.lora_release import find_released
from ..sampling.noise_names import misplaced, noise_of
from . import judges
from .kinds import TITLES, UNREAD
from .listing import Gap
from .lora_files import WHOLE
from .model_files import ModelFile
from .own_nodes import OWN_NODES
from .report import Finding, Section
from .script import find_shot_loras
from .workflow import MOST_STEPS, Node, Wire, WorkflowError, read_nodes

OWN = "StoryMem"  # how this package's classes begin
MODEL, VAE = "MODEL", "VAE"
LOADERS = {  # class -> inputs that name files, and the folder of each
    "UNETLoader": {"unet_name": "diffusion_models"},
    "UnetLoaderGGUF": {"unet_name": "diffusion_models"},
    "UnetLoaderGGUFAdvanced": {"unet_name": "diffusion_models"},
    "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
    "CLIPLoader": {"clip_name": "text_encoders"},
    "CLIPLoaderGGUF": {"clip_name": "text_encoders"},
    "VAELoader": {"vae_name": "vae"},
    "LoraLoader": {"lora_name": "loras"},
    "LoraLoaderModelOnly": {"lora_name": "loras"},
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
    "StoryMemLoadLoRA": {"lora_high": "loras", "lora_low": "loras"},
    "StoryMemLoadEmbedder": {"clip_name": "clip_vision"},
    "StoryMemLoadScorer": {"score_file": "aesthetics", "clip_name": "clip_vision"},
}  # fmt: skip
GGUF_NODES = ("UnetLoaderGGUF", "UnetLoaderGGUFAdvanced", "CLIPLoaderGGUF")
ALIKE = {  # folders that the host takes for one
    "diffusion_models": ("diffusion_models", "unet", "unet_gguf"),
    "text_encoders": ("text_encoders", "clip", "clip_gguf"),
    "vae": ("vae", "vae_approx"),
}  # fmt: skip
# Which kinds may stand where a node takes a model: inputs -> kinds. What nothing tells may be.
_I2V = frozenset({"i2v_a14b", "tiny", "unknown"})
_T2V = frozenset({"t2v_14b", "tiny", "unknown"})
_VAE_KINDS = frozenset({"vae_21", "vae_small", "tiny", "unknown"})
WIRED = {
    "StoryMemM2VSampler": {
        "model_high": _I2V, "model_low": _I2V, "t2v_high": _T2V, "t2v_low": _T2V, "vae": _VAE_KINDS,
    },
    "StoryMemM2VModelPatch": {"model": _I2V},
    "StoryMemM2VConditioning": {"vae": _VAE_KINDS},
    "StoryMemLoadLoRA": {"model_high": _I2V, "model_low": _I2V},
}  # fmt: skip
_CARRIES = {
    "model": MODEL, "model_high": MODEL, "model_low": MODEL, "t2v_high": MODEL, "t2v_low": MODEL,
    "vae": VAE,
}  # fmt: skip
SAMPLERS = ("StoryMemM2VSampler",)
LENIENT = frozenset({"unknown", "tiny", "vae_small"})  # that may be meant
MEMORY_LORAS = frozenset({"storymem_lora", "memento_lora", "unknown"})


@dataclass(frozen=True)
class Wanted:
    """A file that a node names."""

    node: Node
    input: str
    folder: str
    name: str


def look_at_needs(
    workflow: object,
    node_types: Collection[str] | None,
    files: Sequence[ModelFile] | None,
    gaps: Sequence[Gap] = (),
) -> Section:
    """What a workflow needs and lacks.

    Args:
        workflow: in the page's form or the API's.
        node_types: classes that the host has; None when nobody knows.
        files: those of the model folders, each looked at; None when that look failed.
        gaps: what was left out of ``files``.
    """
    try:
        nodes = read_nodes(workflow)
    except WorkflowError as error:
        text = "the workflow could not be read: {reason}"
        return Section(KEY, TITLE, (Finding("error", text, {"reason": str(error)}),))
    findings = list(_classes(nodes, node_types))
    if files is None:
        text = "the look at the model folders failed, so nothing is said of the files it needs"
        return Section(KEY, TITLE, (*findings, Finding("warning", text)))
    unread = {gap.folder for gap in gaps if gap.unread}
    by_name = {gap.folder for gap in gaps}  # where what is looked for by name may be unseen
    places = _places(nodes)
    findings += [
        *_files(nodes, files, places, unread),
        *_wires(nodes, files, places),
        *_pairs(nodes, files),
        *(() if by_name & {*judges.FOLDERS} else judges.find_judges(nodes, files)),
        *(() if "loras" in by_name else find_shot_loras(nodes, files)),
    ]
    if by_name & {*judges.FOLDERS, "loras"}:
        text = "a folder was not looked at whole, so files that are found by name are not judged"
        findings.append(Finding("note", text))
    return Section(KEY, TITLE, tuple(findings))


def names_of(workflow: object) -> list[tuple[str, str]]:
    """The folders and names of the files that a workflow names; empty for what is none."""
    try:
        wanted = wanted_files(read_nodes(workflow))
    except WorkflowError:
        return []
    return [(alike, one.name) for one in wanted for alike in ALIKE.get(one.folder, (one.folder,))]


KEY, TITLE = "workflow", "This workflow"


def wanted_files(nodes: Mapping[str, Node]) -> list[Wanted]:
    """Every file that the nodes name, of the loaders that are known."""
    found = []
    for node in nodes.values():
        for name, folder in LOADERS.get(node.kind, {}).items():
            value = node.inputs.get(name)
            if isinstance(value, str) and value.lower().endswith(ENDINGS):
                found.append(Wanted(node, name, folder, value))
    return found


def find_wanted(wanted: Wanted, files: Sequence[ModelFile]) -> ModelFile | None:
    """The file that a node means; None when it is not there."""
    folders = ALIKE.get(wanted.folder, (wanted.folder,))
    known = {file.name: file for file in reversed(files) if file.folder in folders}
    name = wanted.name.replace("\\", "/")
    if name not in known and wanted.node.kind == "StoryMemLoadLoRA":
        name = find_released(name, list(known)) or name
    return known.get(name)


def files_at(nodes: Mapping[str, Node], node: Node, name: str) -> list[Wanted]:
    """The files of the loader that an input's wire begins at; empty when it is not known."""
    wire, carried = node.inputs.get(name), _CARRIES.get(name, "")
    for _ in range(MOST_STEPS):
        if not isinstance(wire, Wire) or wire.source not in nodes:
            return []
        source = nodes[wire.source]
        if source.kind in LOADERS and not _hands_on(source):
            return [one for one in wanted_files({source.id: source}) if one.folder != "loras"]
        wires = [value for key, value in source.inputs.items() if isinstance(value, Wire)
                 and (value.type or _CARRIES.get(key, "")) == carried]  # fmt: skip
        if not wires:
            return []
        wire = wires[min(max(wire.slot, 0), len(wires) - 1)]
    return []


def _hands_on(node: Node) -> bool:
    """Whether a loader takes a model and gives it back changed."""
    return "loras" in LOADERS[node.kind].values()


# --- findings ----------------------------------------------------------------------------------


def _classes(nodes: Mapping[str, Node], known: Collection[str] | None) -> Iterator[Finding]:
    if known is None:
        yield Finding("note", "which nodes this ComfyUI has is known only from inside of it")
        return
    lacking = {node.kind: node for node in nodes.values() if node.kind not in known}
    for kind, node in lacking.items():
        is_known = kind in OWN_NODES or kind in LOADERS
        private = {"node": kind} | ({"pack": node.pack} if node.pack else {})
        if kind in GGUF_NODES:
            text = "{node} is missing: install the pack ComfyUI-GGUF"
        elif kind in OWN_NODES:
            text = "{node} is missing: this pack is older than the workflow, or did not load"
        elif kind.startswith(OWN):
            text = "a node whose name is as of this pack is missing: update this pack"
        elif is_known:
            text = "{node} is missing: update ComfyUI"
        else:
            text = "a node of another pack is missing: install its pack, or take it out"
        yield Finding("error", text, {"node": kind} if is_known else {}, private)
    if not lacking:
        text = "all {count} nodes of the workflow are there"
        yield Finding("ok", text, {"count": len(nodes)})


def _files(
    nodes: Mapping[str, Node],
    files: Sequence[ModelFile],
    places: Places,
    unread: Collection[str],
) -> Iterator[Finding]:
    for wanted in wanted_files(nodes):
        found = find_wanted(wanted, files)
        values = {"place": _place(wanted, places), "folder": wanted.folder}
        private = {"file": wanted.name}
        if url := wanted.node.sources.get(wanted.name):
            private["url"] = url
        if found is None and unread & {*ALIKE.get(wanted.folder, (wanted.folder,))}:
            text = (
                "whether {folder} has the file of {place} is not known: it cannot be opened whole"
            )
            yield Finding("warning", text, values, private)
        elif found is None:
            text = "the file of {place} is not in {folder}: download it and put it there"
            if other := _renamed(wanted, places, files):
                text = (
                    "the file of {place} is not in {folder}, but file {number} there is "
                    "of that kind: choose it in the node if it is the one that is meant"
                )
                values["number"] = other.number
                private["other"] = other.name
            yield Finding("error", text, values, private)
        elif found.kind.problem:
            text = "the file of {place} cannot be used: {problem}"
            yield Finding("error", text, values | {"problem": found.kind.problem}, private)
        else:
            text = "the file of {place} is there: {folder}, file {number}, {kind}"
            values |= {"number": found.number, "kind": found.kind.title}
            yield Finding("ok", text, values, private)


# Node and input that name a file -> nodes' classes and inputs that it is wired to.
Places = Mapping[tuple[str, str], Sequence[tuple[str, str]]]


def _places(nodes: Mapping[str, Node]) -> Places:
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for node in nodes.values():
        for name in WIRED.get(node.kind, {}):
            for wanted in files_at(nodes, node, name):
                found.setdefault((wanted.node.id, wanted.input), []).append((node.kind, name))
    return found


def _place(wanted: Wanted, places: Places) -> str:
    """``unet_name in UNETLoader, for model_high of StoryMemM2VSampler``."""
    place = f"{wanted.input} in {wanted.node.kind}"
    for kind, name in places.get((wanted.node.id, wanted.input), ()):
        if kind in SAMPLERS:
            return f"{place}, for {name} of {kind}"
    return place


def _expected(wanted: Wanted, places: Places) -> frozenset[str]:
    """Kinds that a file may be by where it is wired; empty when nothing says."""
    if wanted.node.kind == "StoryMemLoadLoRA":
        return MEMORY_LORAS
    if wanted.folder == "text_encoders":
        return (
            frozenset({"umt5", "unknown"})
            if wanted.node.inputs.get("type") == "wan"
            else frozenset()
        )
    at = places.get((wanted.node.id, wanted.input), ())
    found = {WIRED[kind][name] for kind, name in at}
    return frozenset.intersection(*found) if found else frozenset()


def _renamed(wanted: Wanted, places: Places, files: Sequence[ModelFile]) -> ModelFile | None:
    """A file of the kind that is missing, under another name."""
    kinds, noise = _expected(wanted, places) - LENIENT, noise_of(wanted.name)
    folders = ALIKE.get(wanted.folder, (wanted.folder,))
    for file in files:
        is_kind = file.kind.kind in kinds and not file.kind.problem
        if is_kind and file.folder in folders and noise_of(file.name) in ("", noise):
            return file
    return None


def _wires(
    nodes: Mapping[str, Node], files: Sequence[ModelFile], places: Places
) -> Iterator[Finding]:
    """Files that are there and of the wrong kind for where they are wired."""
    for wanted in wanted_files(nodes):
        found, kinds = find_wanted(wanted, files), _expected(wanted, places)
        if found is None or found.kind.problem or not kinds:
            continue
        values = {"place": _place(wanted, places), "kind": found.kind.title}
        private = {"file": wanted.name}
        if found.kind.kind in kinds and (why := _unread(found)):
            text = "the file of {place} cannot be read there: {why}"
            yield Finding("error", text, values | {"why": why}, private)
        elif found.kind.kind == "wan_lora":
            text = "the file of {place} may be no memory LoRA: it is a {kind}"
            is_whole = WHOLE in found.kind.details  # as a repacked one has
            yield Finding("note" if is_whole else "warning", text, values, private)
        elif found.kind.kind not in kinds:
            told = ", ".join(
                TITLES[one] for one in sorted(kinds - {"unknown", "tiny", "vae_small"})
            )
            text = "the file of {place} is the wrong one: it is {kind}; needed is {needed}"
            details = (
                ", ".join(found.kind.details[:1]) if found.kind.kind.startswith("other") else ""
            )
            values["kind"] += f" ({details})" if details else ""
            yield Finding("error", text, values | {"needed": told}, private)


def _unread(file: ModelFile) -> str:
    return next((detail for detail in file.kind.details if detail in UNREAD), "")


def _pairs(nodes: Mapping[str, Node], files: Sequence[ModelFile]) -> Iterator[Finding]:
    """Pairs of files that do not belong together, and LoRAs at loaders that do not know them."""
    for node in nodes.values():
        mine = {one.input: one for one in wanted_files({node.id: node})}
        if node.kind == "StoryMemLoadLoRA" and len(mine) == 2:
            yield from _pair(node, mine["lora_high"], mine["lora_low"], files, "LoRA files")
            kinds = {f.kind.kind for w in mine.values() if (f := find_wanted(w, files))}
            if {"storymem_lora", "memento_lora"} <= kinds:
                text = "{node} has a LoRA of StoryMem and one of Memento: use two files of one"
                yield Finding("error", text, {"node": node.kind})
        if node.kind in ("LoraLoader", "LoraLoaderModelOnly"):
            file = find_wanted(mine["lora_name"], files) if mine else None
            if file and file.kind.kind in ("storymem_lora", "memento_lora"):
                text = (
                    "{node} loads a {kind}: unless its scale is folded in, it would be eleven "
                    "times too weak; use Load Story LoRA"
                )
                values = {"node": node.kind, "kind": file.kind.title}
                yield Finding("warning", text, values, {"file": file.name})
        if {"model_high", "model_low"} <= WIRED.get(
            node.kind, {}
        ).keys() and node.kind != "StoryMemLoadLoRA":
            high, low = (files_at(nodes, node, name) for name in ("model_high", "model_low"))
            if high and low:
                yield from _pair(node, high[0], low[0], files, "models")


def _pair(
    node: Node, high: Wanted, low: Wanted, files: Sequence[ModelFile], what: str
) -> Iterator[Finding]:
    values = {"node": node.kind, "what": what}
    private = {"high": high.name, "low": low.name}
    if high.name == low.name:
        text = "{node} has the same file as both of its {what}: choose high and low noise"
        yield Finding("warning", text, values, private)
    elif misplaced(high.name, low.name):
        text = "the {what} of {node} seem to be in each other's place, by their names: swap them"
        yield Finding("warning", text, values, private)
    first, second = (find_wanted(one, files) for one in (high, low))
    if (
        first
        and second
        and first.path != second.path
        and first.path.resolve() == second.path.resolve()
    ):
        text = "the {what} of {node} are two names of one file"
        yield Finding("warning", text, values, private)
