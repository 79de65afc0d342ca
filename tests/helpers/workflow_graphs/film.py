"""What every graph of a whole story shares: script and memory, the body of the loop, the film."""

from __future__ import annotations

from collections.abc import Callable

from helpers.workflow_files import Builder
from storymem.files.workflow_file import MUTED

from .parts import NEGATIVE, STORY, wan_unet


def add_references(graph: Builder, column) -> dict:
    """Two portraits for the bank; the bank's inputs."""
    portraits = [
        column.add("LoadImage", title=f"Portrait: {who} character", image="example.png")
        for who in ("first", "second")
    ]
    return {"images": (portraits[0], "IMAGE"), "images_2": (portraits[1], "IMAGE")}


def add_t2v(graph: Builder, column) -> dict:
    """The muted T2V pair; the sampler's inputs."""
    column.y += 80
    loaders = {
        f"t2v_{noise}": column.add(
            "UNETLoader",
            title=f"Optional: Wan2.2 T2V, {noise} noise",
            models=[wan_unet("t2v", noise)],
            mode=MUTED,
            unet_name=wan_unet("t2v", noise)["name"],
            weight_dtype="default",
        )
        for noise in ("high", "low")
    }
    graph.group(
        "Optional: T2V pair for shot 1 (select both, Ctrl+M)", list(loaders.values()), "#555"
    )
    return {name: (loader, "MODEL") for name, loader in loaders.items()}


def add_film(
    graph: Builder,
    parts: dict,
    *,
    references: bool = False,
    t2v: bool = False,
    bank: dict | None = None,
    sampler: dict | None = None,
    decode: tuple[str, dict] = ("VAEDecode", {}),
    preview: bool = True,
    prefix: str = "storymem",
    draft: dict | None = None,
    story: str = STORY,
    sound: Callable[[Builder, dict], dict] | None = None,
    memento: bool = False,
) -> dict:
    """Groups 2 to 5, from Load Story to the film; the nodes by name.

    Args:
        graph: where they go, right of the column of ``add_models``.
        parts: what ``add_models`` gave.
        references: begin from two portraits.
        t2v: offer the T2V pair for the first shot.
        bank: other widgets of Memory Bank.
        sampler: other widgets of M2V Sampler.
        decode: kind of the decoding node, and its widgets.
        preview: show the final memory beside the film.
        prefix: folder in the output folder, of this graph alone: a draft never changes what another
            graph of the same story shows.
        draft: widgets of Draft Settings, for a film that begins with its draft's frames.
        story: the script.
        sound: adds the nodes of a film's sound, given the graph and Shot Loop Open; gives the
            inputs of Shot Loop Close.
        memento: let Memento choose each shot's memory, and show it the cast.
    """
    column = graph.column(420, width=440)
    script = column.add("StoryMemLoadStory", rows={"script": 18, "character": 4}, script=story)
    bank_inputs = add_references(graph, column) if references else {}
    memory = column.add("StoryMemMemoryBank", widgets=bank, **bank_inputs)
    opening, loop_inputs = memory, {}
    if draft is not None:
        opening = column.add(
            "StoryMemRehearsal",
            story=(script, "story"),
            bank=(memory, "bank"),
            filename_prefix=prefix,
        )
        column.y += 320  # the node shows its gallery
        settings = column.add("StoryMemDraftSettings", **draft)
        loop_inputs = {"draft": (settings, "draft"), "pass": "draft"}
    graph.group("2  Story and memory", column.nodes, "#8a6d3b")
    sampler_inputs = add_t2v(graph, column) if t2v else {}

    column = graph.column(940)
    start = column.add(
        "StoryMemShotLoopOpen",
        rows=8,
        story=(script, "story"),
        bank=(opening, "bank"),
        negative=NEGATIVE,
        filename_prefix=prefix,
        **loop_inputs,
    )
    prompts = {
        name: column.add("CLIPTextEncode", title=title, clip=parts["clip"], text=(start, output))
        for name, title, output in (
            ("positive", "Prompt of this shot", "prompt"),
            ("negative", "Negative prompt", "negative"),
        )
    }
    if memento:
        prompts |= {
            name: column.add(
                "CLIPTextEncode", title=title, clip=parts["clip"], text=(start, output)
            )
            for name, title, output in (
                ("global_positive", "Global caption of this shot", "global_prompt"),
                ("identity_positive", "The cast: reconstruct_target", "reconstruct_prompt"),
            )
        }
        prompts["identity_negative"] = column.add(
            "CLIPTextEncode", title="No text", clip=parts["clip"], text=""
        )
    body = graph.column(1340, width=360)
    remembered = (start, "bank")
    if memento:
        chosen = body.add(
            "StoryMemChooseMemory",
            model_high=parts["model_high"],
            model_low=parts["model_low"],
            bank=(start, "bank"),
            shot=(start, "shot"),
            vae=parts["vae"],
            positive=(prompts["positive"], "CONDITIONING"),
            global_positive=(prompts["global_positive"], "CONDITIONING"),
        )
        remembered = (chosen, "bank")
        sampler_inputs |= {
            name: (prompts[name], "CONDITIONING")
            for name in ("identity_positive", "identity_negative")
        }
    shot = body.add(
        "StoryMemM2VSampler",
        model_high=parts["model_high"],
        model_low=parts["model_low"],
        positive=(prompts["positive"], "CONDITIONING"),
        negative=(prompts["negative"], "CONDITIONING"),
        vae=parts["vae"],
        bank=remembered,
        shot=(start, "shot"),
        previous_frames=(start, "previous_frames"),
        widgets=sampler,
        **sampler_inputs,
    )
    kind, widgets = decode
    frames = body.add(kind, samples=(shot, "samples"), vae=parts["vae"], widgets=widgets)
    graph.group("3  One shot (this part runs once per shot)", [*column.nodes, *body.nodes])

    column = graph.column(1780)
    if memento:
        judges = {"selection": "even", "max_keyframes": 8}
    else:
        judges = {
            "embedder": (column.add("StoryMemLoadEmbedder", embedder="no_weights"), "embedder"),
            "scorer": (column.add("StoryMemLoadScorer", scorer="sharpness"), "scorer"),
        }
    keyframes = column.add(
        "StoryMemKeyframeSelect",
        frames=(frames, "IMAGE"),
        bank=remembered,
        shot=(start, "shot"),
        **judges,
    )
    remember = column.add("StoryMemRemember", bank=remembered, keyframes=(keyframes, "keyframes"))
    graph.group("4  What is remembered", column.nodes, "#6b8e23")

    heard = sound(graph, start) if sound else {}
    column = graph.column(2200, width=460)
    close = column.add(
        "StoryMemShotLoopClose",
        flow=(start, "flow"),
        frames=(frames, "IMAGE"),
        bank=(remember, "bank"),
        **heard,
    )
    column.y += 320  # the node shows the film
    if preview:
        column.add("StoryMemPreviewMemoryBank", bank=(close, "bank"))
    graph.group("5  The film", column.nodes, "#a1309b")
    return {"script": script, "memory": memory, "open": start, "sampler": shot, "close": close}
