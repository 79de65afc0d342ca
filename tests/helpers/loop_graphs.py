"""Stories and graphs around the shot loop, for the host tests and the benchmark."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

# Outputs of the host's Start Loop.
START_LOOP = ("iteration_index", "is_first", "is_last", "list_item", "current_iteration_value")


def story(count=3, *, name="Tale", cuts=None, prompts=None, **fields) -> str:
    """A one-scene script; every shot after the first continues unless ``cuts`` says otherwise."""
    prompts = prompts or [f"shot number {i + 1}" for i in range(count)]
    cuts = cuts or [True] + [False] * (len(prompts) - 1)
    scene = {"scene_num": 1, "video_prompts": prompts, "cut": cuts, **fields}
    return json.dumps({"story_name": name, "scenes": [scene]})


def edited(count, shot, **fields) -> str:
    """The same story with another prompt for one shot (from 1)."""
    prompts = [f"shot number {i + 1}" for i in range(count)]
    prompts[shot - 1] += ", edited"
    return story(prompts=prompts, **fields)


def loop_graph(script, log="", *, prefix="loop", body=None, opened=None, closed=None) -> dict:
    """Load Story -> Open -> test body -> Close, with Record nodes on folder and bank."""
    return {
        "story": {"class_type": "StoryMemLoadStory", "inputs": {"script": script, "file": "none"}},
        "open": {
            "class_type": "StoryMemShotLoopOpen",
            "inputs": {
                "story": ["story", 0],
                "continuity": "last_five_frames",
                "filename_prefix": prefix,
                **(opened or {}),
            },
        },
        "body": {
            "class_type": "StoryMemTestBody",
            "inputs": {
                "shot": ["open", 1],
                "bank": ["open", 2],
                "previous_frames": ["open", 3],
                "prompt": ["open", 4],
                "seed": 7,
                "width": 64,
                "height": 48,
                "length": 13,
                "seconds": 0.0,
                "log": str(log),
                "fail_on": "",
                **(body or {}),
            },
        },
        "close": {
            "class_type": "StoryMemShotLoopClose",
            "inputs": {
                "flow": ["open", 0],
                "frames": ["body", 0],
                "bank": ["body", 1],
                **(closed or {}),
            },
        },
        "folder": {
            "class_type": "StoryMemTestRecord",
            "inputs": {"value": ["close", 2], "key": "folder"},
        },
        "bank": {
            "class_type": "StoryMemTestRecord",
            "inputs": {"value": ["close", 1], "key": "bank"},
        },
    }


def filtered(graph: dict) -> dict:
    """The graph in which Keyframe Select has no picture for what follows, up to Remember."""
    scorer = {"scorer": "sharpness", "score_file": "auto", "clip_name": "auto"}
    thresholds = {"hpsv3_threshold": 3.0, "laion_threshold": 5.0, "sharpness_threshold": 99.0}
    select = {"bank": ["open", 2], "shot": ["open", 1], "threshold": 0.9, "max_keyframes": 3}
    scale = {"upscale_method": "bicubic", "scale_by": 2.0}
    for name, kind, inputs in (
        ("scorer", "StoryMemLoadScorer", {**scorer, **thresholds}),
        (
            "select",
            "StoryMemKeyframeSelect",
            {"frames": ["body", 0], "scorer": ["scorer", 0], **select},
        ),
        ("scale", "ImageScaleBy", {"image": ["select", 1], **scale}),
        (
            "filter",
            "StoryMemAestheticFilter",
            {
                "scorer": ["scorer", 0],
                "own_threshold": True,
                "threshold": 1.0,
                "images": ["scale", 0],
            },
        ),
        (
            "remember",
            "StoryMemRemember",
            {"keyframes": ["filter", 0], "bank": ["open", 2], "pin": False},
        ),
    ):
        graph[name] = {"class_type": kind, "inputs": inputs}
    graph["close"]["inputs"]["bank"] = ["remember", 0]
    return graph


def one_wire(script, log, count, **body) -> dict:
    """The loop unrolled by hand: the state is the only value that goes from shot to shot."""
    looped = loop_graph(script, log, body=body)
    graph = {
        "story": looped["story"],
        "begin": {
            "class_type": "StoryMemBeginStory",
            "inputs": {
                "story": ["story", 0],
                "continuity": "last_five_frames",
                "filename_prefix": "wire",
            },
        },
    }
    state = ["begin", 0]
    for i in range(count):
        graph[f"next{i}"] = {"class_type": "StoryMemNextShot", "inputs": {"state": state}}
        inputs = dict(looped["body"]["inputs"])
        for name, slot in (("shot", 1), ("bank", 2), ("previous_frames", 3), ("prompt", 4)):
            inputs[name] = [f"next{i}", slot]
        graph[f"body{i}"] = {"class_type": "StoryMemTestBody", "inputs": inputs}
        graph[f"finish{i}"] = {
            "class_type": "StoryMemFinishShot",
            "inputs": {
                "state": [f"next{i}", 0],
                "frames": [f"body{i}", 0],
                "bank": [f"body{i}", 1],
            },
        }
        state = [f"finish{i}", 0]
    graph["done"] = {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": [state[0], 1], "key": "done"},
    }
    graph["join"] = {"class_type": "StoryMemJoinStory", "inputs": {"state": state}}
    graph["folder"] = {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": ["join", 2], "key": "folder"},
    }
    graph["bank"] = {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": ["join", 1], "key": "bank"},
    }
    return graph


def core_loop(script, log, count=None, *, wires=None, **body) -> dict:
    """The same story in the host's own Start Loop and End Loop.

    Args:
        count: how often it goes around; as often as Begin Story says when it is not given.
        wires: inputs of the body that come from Start Loop, by output.
    """
    graph = one_wire(script, log, 1, **body)
    slots = {name: slot for slot, name in enumerate(START_LOOP)}
    graph["start"] = {
        "class_type": "StartLoop",
        "inputs": {
            "mode": "simple",
            "mode.num_iterations": ["begin", 1] if count is None else count,
            "cache_iterations": False,
            "initial_iteration_value": ["begin", 0],
        },
        # As the host writes it when it checks a prompt.
        "_loop_body": ["body0", "finish0", "next0"],
        "_loop_end": "end",
    }
    graph["next0"]["inputs"]["state"] = ["start", 4]
    for name, output in (wires or {}).items():
        graph["body0"]["inputs"][name] = ["start", slots[output]]
    graph["end"] = {
        "class_type": "EndLoop",
        "inputs": {
            "output_value": ["finish0", 0],
            "next_iteration_value": ["finish0", 0],
            "accumulate": False,
        },
    }
    del graph["done"]
    graph["join"]["inputs"]["state"] = ["end", 0]
    return graph


def renamed(graph: dict, suffix: str) -> dict:
    """The same graph under other node ids, to stand beside the first in one prompt."""
    graph = copy.deepcopy(graph)
    for node in graph.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [value[0] + suffix, value[1]]
        if node["class_type"] == "StoryMemTestRecord":
            node["inputs"]["key"] += suffix
    return {node_id + suffix: node for node_id, node in graph.items()}


def hold(log: Path, number: int) -> None:
    """Keep the bodies with this log waiting from that shot on, until ``release``."""
    written = Path(f"{log}.hold.new")
    written.write_text(str(number))
    written.replace(f"{log}.hold")  # in one go: a body that waits reads it all the time


def release(log: Path) -> None:
    Path(f"{log}.hold").unlink(missing_ok=True)


def ran(log: Path) -> list[int]:
    """The shots whose body ran to its end, in order; the log is emptied."""
    return [int(line.split()[1]) for line in lines_of(log) if line.startswith("end")]


def begun(log: Path) -> list[int]:
    """The shots whose body began, in order; the log is emptied."""
    return [int(line.split()[1]) for line in lines_of(log) if line.startswith("begin")]


def finished_shots(store: Path) -> set[int]:
    """Shots whose record stands whole below ``store``, judged by the library."""
    from storymem.loop.shot_store import ShotStore

    shots = ShotStore(store)
    keys = [path.parent.name for path in shots.root.glob("shots/*/*/record.json")]
    records = [shots.find(key) for key in keys]
    assert None not in records, "a record stands under its name but is not whole"
    return {record.facts["shot"] + 1 for record in records}


def decoded(path) -> list[bytes]:
    """Every frame of a video, bit for bit."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


def lines_of(log: Path) -> list[str]:
    """The log's lines, taken away: a line that is written meanwhile is in the next answer."""
    taken = log.with_name(f"{log.name}.taken")
    try:
        log.replace(taken)
    except FileNotFoundError:
        return []
    end = time.monotonic() + 1  # for who had opened it, and writes now
    while not (text := taken.read_text()).endswith("\n") and time.monotonic() < end:
        time.sleep(0.005)
    taken.unlink()
    return text.splitlines()


OTHER_GRAPH = {
    "image": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 3},
    },
    "record": {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": ["image", 0], "key": "other"},
    },
}
