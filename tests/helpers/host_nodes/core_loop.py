"""Stand-ins for Start Loop and End Loop on a host that has none: the same copies and values of a
turn, without the host's own ways to get there. They carry one value around, counted from 0.

The mark that the host writes into a Start Loop when it checks a prompt has to be there already.
"""

from __future__ import annotations

from comfy_execution.graph_utils import GraphBuilder, is_link

ANY, LAZY = ("*", {}), ("*", {"lazy": True})
COUNT = "mode.num_iterations"
HIDDEN = {"dynprompt": "DYNPROMPT", "unique_id": "UNIQUE_ID"}


class StartLoop:
    RETURN_TYPES = ("INT", "BOOLEAN", "BOOLEAN", "*", "*")
    FUNCTION = "refuse"
    CATEGORY = "StoryMem/test"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {COUNT: ("INT", {"default": 4})},
            "optional": {
                "mode": ("STRING", {}),
                "cache_iterations": ("BOOLEAN", {}),
                "initial_iteration_value": ANY,
            },
        }

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def refuse(self, **_):
        raise RuntimeError("the stand-in for End Loop makes the turns")


class EndLoop:
    RETURN_TYPES = ("*",)
    FUNCTION = "begin"
    CATEGORY = "StoryMem/test"

    @classmethod
    def INPUT_TYPES(cls):
        terminations = {f"terminations.termination{i}": LAZY for i in range(3)}
        return {
            "required": {},
            "optional": {
                "output_value": LAZY,
                "next_iteration_value": LAZY,
                "accumulate": ("BOOLEAN", {}),
                **terminations,
            },
            "hidden": HIDDEN,
        }

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def check_lazy_status(self, **_):
        return []

    def begin(self, dynprompt, unique_id, **_):
        graph = GraphBuilder()
        start = _start_of(dynprompt, unique_id)
        count = dynprompt.get_node(start)["inputs"][COUNT]
        turns = graph.node("StoryMemTestTurns", "turns", end=unique_id, count=count)
        return {"result": (turns.out(0),), "expand": graph.finalize()}


class Turns:
    """Makes the copies, when it is known how many."""

    RETURN_TYPES = ("*",)
    FUNCTION = "expand"
    CATEGORY = "StoryMem/test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"end": ("STRING", {}), "count": ("INT", {})}, "hidden": HIDDEN}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def expand(self, end, count, dynprompt, unique_id):
        graph, start = GraphBuilder(), _start_of(dynprompt, end)
        begun, ended = (dynprompt.get_node(n) for n in (start, end))
        carried, waits_for = begun["inputs"].get("initial_iteration_value"), {}
        for position in range(count):
            turn = graph.node(
                "LoopIteration",
                f"iteration_{position}",
                iteration_index=position,
                is_first=position == 0,
                is_last=position == count - 1,
                list_item=None,
                current_iteration_value=carried,
                reuse_cache=False,
                **waits_for,
            )
            turn.set_override_display_id(start)
            copies = {}
            for node_id in begun["_loop_body"]:
                kind = dynprompt.get_node(node_id)["class_type"]
                copies[node_id] = graph.node(kind, f"{position}_{node_id}")
                copies[node_id].set_override_display_id(node_id)

            def copied(link, turn=turn, copies=copies):
                if not is_link(link) or link[0] not in (start, *copies):
                    return link
                return turn.out(link[1]) if link[0] == start else copies[link[0]].out(link[1])

            for node_id, copy in copies.items():
                for name, value in dynprompt.get_node(node_id)["inputs"].items():
                    copy.set_input(name, copied(value))
            carried = copied(ended["inputs"]["next_iteration_value"])
            result = copied(ended["inputs"]["output_value"])
            waits_for = {"dependency0": result}
        return {"result": (result,), "expand": graph.finalize()}


class LoopIteration:
    RETURN_TYPES = ("INT", "BOOLEAN", "BOOLEAN", "*", "*")
    FUNCTION = "give"
    CATEGORY = "StoryMem/test"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "iteration_index": ("INT", {}),
                "is_first": ("BOOLEAN", {}),
                "is_last": ("BOOLEAN", {}),
            },
            "optional": {
                "list_item": ANY,
                "current_iteration_value": ANY,
                "reuse_cache": ("BOOLEAN", {}),
                "dependency0": ANY,
            },
        }

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def give(
        self, iteration_index, is_first, is_last, list_item=None, current_iteration_value=None, **_
    ):
        return iteration_index, is_first, is_last, list_item, current_iteration_value


def _start_of(dynprompt, end: str) -> str:
    return next(
        node_id
        for node_id in sorted(dynprompt.all_node_ids())
        if dynprompt.get_node(node_id).get("_loop_end") == end
    )


NODES = {
    "StartLoop": StartLoop,
    "EndLoop": EndLoop,
    "LoopIteration": LoopIteration,
    "StoryMemTestTurns": Turns,
}
