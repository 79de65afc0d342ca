"""Two shots around one wire, as ComfyUI's own loop nodes carry it."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .parts import NEGATIVE, STORY, add_models, model_note, negative_note


def one_wire_graph(info: dict) -> dict:
    """Two shots around one wire: what goes between Start Loop and End Loop of newer hosts."""
    graph = Builder(info, "storymem_core_loop")
    parts = add_models(graph)
    column = graph.column(420, width=440)
    script = column.add("StoryMemLoadStory", rows={"script": 18, "character": 4}, script=STORY)
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    begin = column.add(
        "StoryMemBeginStory",
        story=(script, "story"),
        negative=NEGATIVE,
        filename_prefix="storymem_core_loop",
    )
    graph.group("2  The story becomes one value", column.nodes, "#8a6d3b")

    state, x = (begin, "state"), 940
    for number in (1, 2):
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
        remember = body.add(
            "StoryMemRemember", bank=(shot, "bank"), keyframes=(keyframes, "keyframes")
        )
        finish = body.add(
            "StoryMemFinishShot",
            state=(shot, "state"),
            frames=(decode, "IMAGE"),
            bank=(remember, "bank"),
        )
        graph.group(f"{number + 2}  Shot {number}", [*column.nodes, *body.nodes])
        state, x = (finish, "state"), x + 840

    column = graph.column(x, width=460)
    column.add("StoryMemJoinStory", state=state)
    graph.group("5  The film", column.nodes, "#a1309b")
    graph.note(
        (0, -560),
        (900, 420),
        "StoryMem: the loop on one wire",
        "# StoryMem: the loop on one wire\n\n"
        "For ComfyUI versions that have loop nodes of their own (*Start Loop*, *End Loop*), which "
        "carry one value around. The value is the *state*: give *Begin Story*'s state to Start "
        "Loop, put one *Next Shot* ... *Finish Shot* between, give Finish Shot's state to End Loop "
        "and its *done* to the condition, and End Loop's value to *Join Story*.\n\n"
        "Here the loop is unrolled for the first two shots, so that the file runs everywhere. "
        "Finished shots are on disk and run nothing, as with *Shot Loop Open* and *Close*, which "
        "are the simpler road.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=False))
    negative_note(graph, (2020, -560))
    return graph.file()


GRAPHS = {"storymem_core_loop": one_wire_graph}
