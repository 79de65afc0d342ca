"""What a loop's wires and files cost, as it is told before the first shot."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.workflow_graphs import needs
from storymem.files.workflow_file import to_api

PACK = Path(__file__).resolve().parents[2]
SCRIPT = "[title: Tale]\nA cat sits.\n---\n[continue]\nIt runs.\n---\nA dog comes.\n"
SAMPLER, CLOSE, OPEN = "StoryMemM2VSampler", "StoryMemShotLoopClose", "StoryMemShotLoopOpen"
REMEMBER, LORA, BANK = "StoryMemRemember", "StoryMemLoadLoRA", "StoryMemMemoryBank"
SELECT, CONDITIONING = "StoryMemKeyframeSelect", "StoryMemM2VConditioning"


def schemas_of_host() -> dict:
    """What ``/object_info`` says, of a host in this process."""
    import nodes

    return {
        name: node.GET_NODE_INFO_V1()
        if hasattr(node, "GET_NODE_INFO_V1")
        else {"input": node.INPUT_TYPES(), "output": node.RETURN_TYPES}
        for name, node in nodes.NODE_CLASS_MAPPINGS.items()
    }


def shipped_prompts() -> dict[str, str]:
    """The shipped workflows that this host knows, as API prompts, each as JSON, by name."""
    info = schemas_of_host()
    files = (PACK / "workflows").glob("*.json")
    known = [p for p in files if needs().get(p.stem, "StoryMemLoadStory") in info]
    return {p.stem: json.dumps(to_api(json.loads(p.read_text("utf-8")), info)) for p in known}


def of(prompt: dict, kind: str, nth: int = 0) -> str:
    return [i for i, n in prompt.items() if n["class_type"] == kind][nth]


def inputs(prompt: dict, kind: str, nth: int = 0) -> dict:
    return prompt[of(prompt, kind, nth)]["inputs"]


def added(prompt: dict, kind: str, **values) -> str:
    """The id of a new node."""
    node_id = str(900 + len(prompt))
    prompt[node_id] = {"class_type": kind, "inputs": values}
    return node_id


def told(host, tmp_path, prompt, script=SCRIPT, *, max_frames=10, close=None, **settings):
    """Notices of a loop of a prompt (the first one), and the node that it is refused for."""
    from comfy_execution.graph import DynamicPrompt

    plan, shots = host.pack("storymem.loop.plan"), host.pack("storymem.loop.shots")
    wiring = host.pack("nodes.loop.wiring")
    close = close or of(prompt, CLOSE)
    graph = host.pack("nodes.loop.read_graph").read_loop(DynamicPrompt(prompt), close)
    loop = plan.Loop(
        host.pack("storymem.script.reader").load_story(script),
        plan.LoopSettings(settings.pop("continuity", "last_frame"), "tale", **settings),
        host.pack("storymem.memory.bank").MemoryBank(max_frames=max_frames),
        "",
        host.pack("storymem.loop.shot_store").ShotStore(tmp_path),
    )
    graph.draft = loop.settings.draft
    steps = shots.list_steps(loop, {})
    wires = graph.wires()
    found = wiring.loop_notices(wires, close, loop, steps)
    return found, wiring.impossible_shot(wires, steps)
