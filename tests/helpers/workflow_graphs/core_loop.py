"""A story around one wire: in ComfyUI's own loop nodes, and two shots of it in a row."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .parts import NEGATIVE, STORY, add_models, model_note, negative_note

START = "StartLoop"


def _begin(graph: Builder, name: str) -> tuple[dict, dict, dict]:
    """Models, story and Begin Story: what both graphs start with."""
    parts = add_models(graph)
    column = graph.column(420, width=440)
    script = column.add("StoryMemLoadStory", rows={"script": 18, "character": 4}, script=STORY)
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    begin = column.add(
        "StoryMemBeginStory", story=(script, "story"), negative=NEGATIVE, filename_prefix=name
    )
    graph.group("2  The story becomes one value", column.nodes, "#8a6d3b")
    return parts, embedder, begin


def _shot(graph: Builder, parts: dict, embedder: dict, state: tuple, x: int) -> list[dict]:
    """The nodes from Next Shot to Finish Shot, which is the last one."""
    column = graph.column(x)
    shot = column.add("StoryMemNextShot", state=state)
    encoded = {
        name: (
            column.add("CLIPTextEncode", clip=parts["clip"], text=(shot, text)),
            "CONDITIONING",
        )
        for name, text in (("positive", "prompt"), ("negative", "negative"))
    }
    body = graph.column(x + 400, width=360)
    sampler = body.add(
        "StoryMemM2VSampler",
        model_high=parts["model_high"],
        model_low=parts["model_low"],
        vae=parts["vae"],
        bank=(shot, "bank"),
        shot=(shot, "shot"),
        previous_frames=(shot, "previous_frames"),
        **encoded,
    )
    decode = body.add("VAEDecode", samples=(sampler, "samples"), vae=parts["vae"])
    keyframes = body.add(
        "StoryMemKeyframeSelect",
        embedder=(embedder, "embedder"),
        frames=(decode, "IMAGE"),
        bank=(shot, "bank"),
        shot=(shot, "shot"),
    )
    remember = body.add("StoryMemRemember", bank=(shot, "bank"), keyframes=(keyframes, "keyframes"))
    body.add(
        "StoryMemFinishShot",
        state=(shot, "state"),
        frames=(decode, "IMAGE"),
        bank=(remember, "bank"),
    )
    return [*column.nodes, *body.nodes]


def one_wire_graph(info: dict) -> dict:
    """Two shots around one wire, unrolled: what goes between Start Loop and End Loop."""
    graph = Builder(info, "storymem_core_loop")
    parts, embedder, begin = _begin(graph, "storymem_core_loop")
    state, x = (begin, "state"), 940
    for number in (1, 2):
        added = _shot(graph, parts, embedder, state, x)
        graph.group(f"{number + 2}  Shot {number}", added)
        state, x = (added[-1], "state"), x + 840

    column = graph.column(x, width=460)
    column.add("StoryMemJoinStory", state=state)
    graph.group("5  The film", column.nodes, "#a1309b")
    graph.note(
        (0, -560),
        (900, 420),
        "StoryMem: the loop on one wire",
        "# StoryMem: the loop on one wire\n\n"
        "The story is one value, the *state*: *Begin Story* makes it, one *Next Shot* ... *Finish "
        "Shot* after another takes it on, and *Join Story* makes the film.\n\n"
        "Here the first two shots stand in a row, so that the file runs everywhere. Where ComfyUI "
        "has *Start Loop* and *End Loop*, open *storymem_start_loop* instead, in which one *Next "
        "Shot* ... *Finish Shot* makes every shot.\n\n"
        "Finished shots are on disk and run nothing, as with *Shot Loop Open* and *Close*, which "
        "are the simpler road.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=False))
    negative_note(graph, (2020, -560))
    return graph.file()


def start_loop_graph(info: dict) -> dict:
    """A whole story in the host's own loop."""
    graph = Builder(info, "storymem_start_loop")
    parts, embedder, begin = _begin(graph, "storymem_start_loop")
    column = graph.column(940)
    start = column.add(
        START,
        initial_iteration_value=(begin, "state"),
        **{"mode.num_iterations": (begin, "shot_count")},
    )
    graph.group("3  The loop begins", column.nodes, "#a1309b")
    added = _shot(graph, parts, embedder, (start, "current_iteration_value"), 1340)
    graph.group("4  One shot", added)
    finish = (added[-1], "state")
    column = graph.column(2180, width=460)
    end = column.add("EndLoop", output_value=finish, next_iteration_value=finish)
    column.add("StoryMemJoinStory", state=(end, "outputs"))
    graph.group("5  The loop ends, and the film", column.nodes, "#a1309b")
    graph.note(
        (0, -660),
        (900, 520),
        "StoryMem in Start Loop and End Loop",
        "# StoryMem in Start Loop and End Loop\n\n"
        "**Needs a ComfyUI that has the nodes *Start Loop* and *End Loop***, which came in "
        "September 2026. Elsewhere they are red: open *storymem_story*, or *storymem_core_loop* "
        "for the same nodes in a row.\n\n"
        "The *state* goes around: *Begin Story* makes it, *Start Loop* gives it to *Next Shot*, "
        "*Finish Shot* hands it to *End Loop*, twice: to the next turn, and out to *Join Story*. "
        "*shot_count* says how many turns there are, because such a loop cannot end early.\n\n"
        "*iteration_index* and the other outputs of *Start Loop* may go to the nodes of the shot; "
        "their value is part of what makes it.\n\n"
        "A preview among the nodes of the shot has to reach *End Loop* (*termination*), and then "
        "ComfyUI runs what it shows in every turn, so **all finished shots are made again**. "
        "Without one, finished shots run nothing.",
    )
    graph.note((940, -660), (1040, 520), "Model files", model_note(t2v=False))
    negative_note(graph, (2020, -660))
    return graph.file()


GRAPHS = {"storymem_core_loop": one_wire_graph, "storymem_start_loop": start_loop_graph}
NEEDS = {"storymem_start_loop": START}  # a node that not every host has
