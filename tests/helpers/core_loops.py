"""What the host's own loops need to run in a test's process, and graphs around them."""

from __future__ import annotations

import sys


class QuietPage:
    """Stands where the host's server would: nobody looks."""

    client_id = None

    def send_progress_text(self, *_):
        pass

    def send_sync(self, *_):
        pass


def quiet_page(monkeypatch) -> None:
    """Let Start Loop tell of its turns to nobody."""
    import server

    monkeypatch.setattr(server.PromptServer, "instance", QuietPage(), raising=False)


def has_loops() -> bool:
    """Whether the loaded host has loops of its own."""
    import nodes

    return "StartLoop" in nodes.NODE_CLASS_MAPPINGS


def give_loops(host, monkeypatch) -> None:
    """Stand-ins for the loop nodes, where the host has none."""
    import nodes

    for name, node in {} if has_loops() else sys.modules[host._test].STANDINS.items():
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, name, node)


def counted(graph: dict, start: int, end: int, step: int) -> dict:
    """``core_loop`` with a Start Loop that counts in steps."""
    inputs = graph["start"]["inputs"]
    del inputs["mode.num_iterations"]
    inputs |= {
        "mode": "For",
        "mode.start_iteration_index": start,
        "mode.max_iteration": end,
        "mode.step": step,
    }
    return graph


def nested(graph: dict, outer: int, inner: int) -> dict:
    """``core_loop`` in two loops: the seed counts the inner turns, ``outside`` the outer ones."""
    start, end = graph["start"]["inputs"], graph["end"]["inputs"]
    start["mode.num_iterations"] = inner
    graph["outer"] = {
        "class_type": "StartLoop",
        "inputs": {**start, "mode.num_iterations": outer},
    }
    start["initial_iteration_value"] = ["outer", 4]
    start["parent_iteration"] = ["outer", 0]
    graph["last"] = {
        "class_type": "EndLoop",
        "inputs": {**end, "output_value": ["end", 0], "next_iteration_value": ["end", 0]},
    }
    graph["body0"]["inputs"] |= {"seed": ["start", 0], "outside": ["outer", 0]}
    graph["join"]["inputs"]["state"] = ["last", 0]
    return graph


def inner_loop(graph: dict, frames: list, turns: int, **invert) -> dict:
    """A loop among a shot's nodes: inverts its frames as often as it goes around."""
    graph["again"] = {
        "class_type": "StartLoop",
        "inputs": {
            "mode": "simple",
            "mode.num_iterations": turns,
            "cache_iterations": False,
            "initial_iteration_value": frames,
        },
    }
    graph["invert"] = {"class_type": "ImageInvert", "inputs": {"image": ["again", 4], **invert}}
    graph["done"] = {
        "class_type": "EndLoop",
        "inputs": {
            "output_value": ["invert", 0],
            "next_iteration_value": ["invert", 0],
            "accumulate": False,
        },
    }
    return graph
