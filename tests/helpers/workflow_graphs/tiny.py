"""The demo: a whole story on the tiny model, on any CPU, with nothing to download."""

from __future__ import annotations

from helpers.workflow_files import Builder
from storymem.tiny import demo, files, world

NOTE = """# A story on the tiny model

Queue, and a story of eight shots is made in a minute or two, on any CPU. Nothing is downloaded: \
the tiny model is part of the pack (22 MB, Apache-2.0). It has seen one toy world only and nothing \
of yours: it shows how memory works, not what StoryMem can do.

- The prompts never say how the characters look. The two *Tiny Portrait* nodes do: choose other \
colours and hats, queue again, and the characters are others **in every shot**.
- Set *max_frames* of *Memory Bank* to 0 (and *pin_references* off): without memory every shot \
shows somebody else.
- Whoever a prompt names first stands on the left. Try *enters*, *leaves*, *crosses*, *wide* and \
*close*, too. Another *seed* of *M2V Sampler* makes another story.
- Set *rope_shift* of *M2V Sampler* to 0 or 1: the shot takes memory for its own beginning.
- Set *pass* of *Shot Loop Open* to draft: the story in 6 steps, in a folder of its own.
- The words of this world are in the tooltip of *Tiny Text Encoder*. With real Wan models use \
*CLIP Text Encode* in its place, and *Load Story LoRA*: see `storymem_story`.

The shots, the film and the memory are in `output/storymem_tiny_cpu/Bomo and Fipi/`.
"""
FILES_NOTE = """## Model files

`{m2v}` and `{vae}` come with the pack, in `storymem/tiny/weights`: the pack shows them to the \
stock loaders. Files that you trained yourself are found through the environment variable \
`{variable}`, set to the folder that holds them.
"""


PROGRESS = 110  # height of what Shot Loop Open shows below its inputs while it runs


def tiny_graph(info: dict) -> dict:
    graph = Builder(info, "storymem_tiny_cpu")
    column = graph.column(0)
    model = column.add(
        "UNETLoader",
        title="Tiny M2V model",
        unet_name=files.FILES["diffusion_models"],
        weight_dtype="default",
    )
    vae = column.add("VAELoader", title="Tiny VAE", vae_name=files.FILES["vae"])
    graph.group("1  Model (comes with the pack)", column.nodes)
    column.y += 80
    draft = column.add("StoryMemDraftSettings", steps=6, size=1.0)

    column = graph.column(420, width=440)
    script = column.add(
        "StoryMemLoadStory", rows={"script": 14, "character": 2}, script=demo.SCRIPT
    )
    column = graph.column(900)
    looks = [dict(zip(world.ATTRIBUTES, look.split(), strict=True)) for look in demo.LOOKS]
    portraits = [
        column.add(
            "StoryMemTinyPortrait", title=f"Portrait: the {kind} one", character=kind, **look
        )
        for kind, look in zip(world.KINDS, looks, strict=False)
    ]
    bank = column.add(
        "StoryMemMemoryBank",
        images=(portraits[0], "image"),
        images_2=(portraits[1], "image"),
        max_frames=demo.MAX_MEMORY_FRAMES,
    )
    graph.group("2  Story and memory", [script, *column.nodes], "#8a6d3b")

    column = graph.column(1320)
    start = column.add(
        "StoryMemShotLoopOpen",
        rows=3,
        story=(script, "story"),
        bank=(bank, "bank"),
        draft=(draft, "draft"),
        filename_prefix="storymem_tiny_cpu",
    )
    column.y += PROGRESS
    prompt = column.add(
        "StoryMemTinyTextEncoder",
        rows=2,
        prompt=(start, "prompt"),
        negative_prompt=(start, "negative"),
    )
    body = graph.column(1720, width=360)
    sampler = body.add(
        "StoryMemM2VSampler",
        model_high=(model, "MODEL"),
        positive=(prompt, "positive"),
        negative=(prompt, "negative"),
        vae=(vae, "VAE"),
        bank=(start, "bank"),
        shot=(start, "shot"),
        previous_frames=(start, "previous_frames"),
        widgets={"width": demo.SIZE, "height": demo.SIZE, "length": demo.LENGTH},
        seed=demo.SEED,
        steps=demo.RECIPE["steps"],
        cfg=demo.RECIPE["cfg"],
        sampler_name=demo.RECIPE["sampler"],
        scheduler="simple",
        shift=demo.RECIPE["shift"],
        rope_shift=demo.RECIPE["rope_shift"],
    )
    decode = body.add("VAEDecode", samples=(sampler, "samples"), vae=(vae, "VAE"))
    graph.group("3  One shot (this part runs once per shot)", [*column.nodes, *body.nodes])

    column = graph.column(2160)
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    keyframes = column.add(
        "StoryMemKeyframeSelect",
        embedder=(embedder, "embedder"),
        frames=(decode, "IMAGE"),
        bank=(start, "bank"),
        shot=(start, "shot"),
        threshold=demo.KEYFRAME_THRESHOLD,
    )
    remember = column.add(
        "StoryMemRemember", bank=(start, "bank"), keyframes=(keyframes, "keyframes")
    )
    graph.group("4  What is remembered", column.nodes, "#6b8e23")

    column = graph.column(2580, width=460)
    close = column.add(
        "StoryMemShotLoopClose",
        flow=(start, "flow"),
        frames=(decode, "IMAGE"),
        bank=(remember, "bank"),
    )
    # The node shows the film, as high as it is wide, what is told, and while it runs a button.
    column.y += 560
    column.add("StoryMemPreviewMemoryBank", bank=(close, "bank"))
    graph.group("5  The film", column.nodes, "#a1309b")

    graph.note((0, -440), (900, 320), "A story on the tiny model", NOTE)
    text = FILES_NOTE.format(
        m2v=files.FILES["diffusion_models"], vae=files.FILES["vae"], variable=files.VARIABLE
    )
    graph.note((940, -440), (640, 200), "Model files", text)
    return graph.file()


GRAPHS = {"storymem_tiny_cpu": tiny_graph}
