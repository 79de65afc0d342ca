"""The full story, begun from text or from portraits."""

from __future__ import annotations

from functools import partial

from workflow_files import MUTED, Builder

from .parts import NEGATIVE, STORY, add_models, model_note, wan_unet


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


def story_graph(info: dict, *, references: bool) -> dict:
    """The full story: models, script and memory, the body of the loop, the film."""
    graph = Builder(info, "storymem_reference_images" if references else "storymem_story")
    parts = add_models(graph)

    column = graph.column(420, width=440)
    script = column.add("StoryMemLoadStory", rows={"script": 18, "character": 4}, script=STORY)
    bank_inputs = add_references(graph, column) if references else {}
    bank = column.add("StoryMemMemoryBank", **bank_inputs)
    graph.group("2  Story and memory", column.nodes, "#8a6d3b")
    sampler_inputs = {} if references else add_t2v(graph, column)

    column = graph.column(940)
    start = column.add(
        "StoryMemShotLoopOpen",
        rows=8,
        story=(script, "story"),
        bank=(bank, "bank"),
        negative=NEGATIVE,
    )
    prompts = {
        name: column.add("CLIPTextEncode", title=title, clip=parts["clip"], text=(start, output))
        for name, title, output in (
            ("positive", "Prompt of this shot", "prompt"),
            ("negative", "Negative prompt", "negative"),
        )
    }
    body = graph.column(1340, width=360)
    sampler = body.add(
        "StoryMemM2VSampler",
        model_high=parts["model_high"],
        model_low=parts["model_low"],
        positive=(prompts["positive"], "CONDITIONING"),
        negative=(prompts["negative"], "CONDITIONING"),
        vae=parts["vae"],
        bank=(start, "bank"),
        shot=(start, "shot"),
        previous_frames=(start, "previous_frames"),
        **sampler_inputs,
    )
    decode = body.add("VAEDecode", samples=(sampler, "samples"), vae=parts["vae"])
    graph.group("3  One shot (this part runs once per shot)", [*column.nodes, *body.nodes])

    column = graph.column(1780)
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    scorer = column.add("StoryMemLoadScorer", scorer="sharpness")
    keyframes = column.add(
        "StoryMemKeyframeSelect",
        embedder=(embedder, "embedder"),
        scorer=(scorer, "scorer"),
        frames=(decode, "IMAGE"),
        bank=(start, "bank"),
        shot=(start, "shot"),
    )
    remember = column.add(
        "StoryMemRemember", bank=(start, "bank"), keyframes=(keyframes, "keyframes")
    )
    graph.group("4  What is remembered", column.nodes, "#6b8e23")

    column = graph.column(2200, width=460)
    close = column.add(
        "StoryMemShotLoopClose",
        flow=(start, "flow"),
        frames=(decode, "IMAGE"),
        bank=(remember, "bank"),
    )
    column.y += 320  # the node shows the film
    column.add("StoryMemPreviewMemoryBank", bank=(close, "bank"))
    graph.group("5  The film", column.nodes, "#a1309b")

    what = (
        "Put a portrait of each character into the two *Load Image* nodes: they become the first "
        "frames of the memory and stay pinned there (MR2V)."
        if references
        else "The first shot is made from text alone. Unmute the T2V pair (select both, Ctrl+M) "
        "for a first shot by Wan2.2 T2V, as in the paper, if you have these files."
    )
    graph.note(
        (0, -560),
        (900, 420),
        "StoryMem: a story, shot by shot",
        "# StoryMem: a story, shot by shot\n\n"
        "1. Load the model files (table on the right) and choose them in group 1.\n"
        "2. Write the story in *Load Story*: shots are separated by lines of `---`. A shot whose "
        "first line is `[continue]` goes on from the shot before without a cut. A first block "
        "marked `[character]` is put before every prompt. ST-Bench JSON works too.\n"
        f"3. {what}\n"
        "4. Queue. Each shot is saved as soon as it is done, in `output/storymem/<story>/`. Stop "
        "whenever you like: queue again and it goes on where it stopped. Change a shot, and only "
        "that shot and the ones after it are made again.\n"
        "5. Keyframes are chosen without any extra file at first. For the paper's own choice set "
        "*Load Embedder* to `clip` (CLIP ViT-B/32 in `models/clip_vision`) and *Load Scorer* to "
        "`hpsv3` (a large model) or `laion`.\n\n"
        "Recipe of the paper: 832x480, 81 frames, 40 steps, uni_pc, shift 4, CFG 3.5. For a fast "
        "try: 4 steps and CFG 1 with the lightx2v LoRAs loaded before *Load StoryMem LoRA*.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=not references))
    return graph.file()


GRAPHS = {
    "storymem_story": partial(story_graph, references=False),
    "storymem_reference_images": partial(story_graph, references=True),
}
