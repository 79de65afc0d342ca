"""What StoryMem is compared with, on the same loop, sampler, schedule and seeds."""

from __future__ import annotations

from helpers.workflow_files import Builder
from storymem.files.workflow_file import MUTED

from .parts import NEGATIVE, STORY, T5, VAE, model, negative_note, wan_unet

VBENCH = "https://huggingface.co/OpenGVLab/VBench_Used_Models/resolve/main"
JUDGES = [
    model("ViClip-InternVid-10M-FLT.pth", f"{VBENCH}/ViClip-InternVid-10M-FLT.pth", "viclip"),
    model(
        "sa_0_4_vit_l_14_linear.pth",
        "https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
        "aesthetics",
    ),
]
CLIP_NOTE = (
    "CLIP ViT-L/14 (`ViT-L-14.pt` of [OpenAI's CLIP](https://github.com/openai/CLIP), for "
    "`models/clip_vision`)"
)


def baseline_graph(info: dict, name: str, *, title: str, text: str, is_two_stage: bool) -> dict:
    """One baseline: plain Wan2.2 in the loop, and Evaluate Story at its end."""
    graph = Builder(info, name)
    kinds = ("i2v",) if is_two_stage else ("i2v", "t2v")
    column = graph.column(0)
    unets = {
        (kind, noise): column.add(
            "UNETLoader",
            title=f"Wan2.2 {kind.upper()}, {noise} noise",
            models=[wan_unet(kind, noise)],
            unet_name=wan_unet(kind, noise)["name"],
            weight_dtype="default",
        )
        for kind in kinds
        for noise in ("high", "low")
    }
    clip = column.add(
        "CLIPLoader", title="Text encoder (umt5-xxl)", models=[T5], clip_name=T5["name"],
        type="wan", device="default",
    )  # fmt: skip
    vae = column.add("VAELoader", models=[VAE], vae_name=VAE["name"])
    graph.group("1  Models: plain Wan2.2, no StoryMem LoRA", column.nodes)

    column = graph.column(420, width=440)
    script = column.add("StoryMemLoadStory", rows={"script": 18, "character": 4}, script=STORY)
    own: dict = {}
    if is_two_stage:
        pictures = column.add("StoryMemLoadStartImages", story=(script, "story"))
        own["start_images"] = (pictures, "images")
    graph.group("2  Story" + (" and key images" if is_two_stage else ""), column.nodes, "#8a6d3b")

    column = graph.column(940)
    start = column.add(
        "StoryMemShotLoopOpen",
        rows=8,
        story=(script, "story"),
        negative=NEGATIVE,
        continuity="cut",
        filename_prefix=name.rpartition("/")[2],
        after_redo="keep_later",  # no shot depends on another one
        **own,
    )
    prompts = {
        kind: column.add("CLIPTextEncode", title=words, clip=(clip, "CLIP"), text=(start, output))
        for kind, words, output in (
            ("positive", "Prompt of this shot", "prompt"),
            ("negative", "Negative prompt", "negative"),
        )
    }
    nothing = column.add("StoryMemMemoryBank", title="No memory", max_frames=0)
    body = graph.column(1340, width=360)
    pair = {f"model_{noise}": (unets["i2v", noise], "MODEL") for noise in ("high", "low")}
    if is_two_stage:
        pair["start_image"] = (start, "start_image")
    else:
        pair |= {f"t2v_{noise}": (unets["t2v", noise], "MODEL") for noise in ("high", "low")}
    shot = body.add(
        "StoryMemM2VSampler",
        positive=(prompts["positive"], "CONDITIONING"),
        negative=(prompts["negative"], "CONDITIONING"),
        vae=(vae, "VAE"),
        bank=(nothing, "bank"),
        shot=(start, "shot"),
        **pair,
    )
    frames = body.add("VAEDecode", samples=(shot, "samples"), vae=(vae, "VAE"))
    graph.group("3  One shot (this part runs once per shot)", [*column.nodes, *body.nodes])

    column = graph.column(1780, width=460)
    close = column.add(
        "StoryMemShotLoopClose",
        flow=(start, "flow"),
        frames=(frames, "IMAGE"),
        bank=(nothing, "bank"),
    )
    column.y += 320  # the node shows the film
    graph.group("4  The film", column.nodes, "#a1309b")
    column = graph.column(2300, width=460)
    measured = column.add(
        "StoryMemEvaluateStory", mode=MUTED, models=JUDGES, folder=(close, "folder")
    )
    graph.group("5  Optional: the paper's numbers (select, Ctrl+M)", [measured], "#555")

    graph.note((0, -560), (900, 420), title, f"# {title}\n\n{text}")
    graph.note((940, -560), (1040, 420), "Model files", _files(kinds))
    negative_note(graph, (2020, -560))
    return graph.file()


def _files(kinds: tuple[str, ...]) -> str:
    rows = [
        (f"Wan2.2 {kind.upper()} {noise} noise", wan_unet(kind, noise))
        for kind in kinds
        for noise in ("high", "low")
    ]
    rows += [("Text encoder", T5), ("VAE", VAE)]
    rows += [("Only to measure: ViCLIP", JUDGES[0]), ("Only to measure: LAION head", JUDGES[1])]
    lines = ["## Model files", "", "| what | file | folder |", "|---|---|---|"]
    lines += [f"| {w} | [{m['name']}]({m['url']}) | `models/{m['directory']}` |" for w, m in rows]
    lines += ["", f"Only to measure, too: {CLIP_NOTE}. See `docs/metrics.md`."]
    return "\n".join(lines)


def wan_graph(info: dict) -> dict:
    return baseline_graph(
        info,
        "baselines/wan",
        title="Baseline: Wan2.2 alone",
        text="Every shot from its prompt alone, by Wan2.2 T2V: no StoryMem LoRA, no memory, and a "
        "cut before every shot (*continuity* is `cut`). Sampler, schedule and seeds are those of "
        "the StoryMem workflow, so that shots differ by the memory only.\n\n"
        "1. Put the same script into *Load Story* as in the workflow to compare with.\n"
        "2. Queue. Shots do not depend on each other: change one, and only that one is made "
        "again.\n"
        "3. For the paper's numbers select *Evaluate Story* and press Ctrl+M, or measure both "
        "stories side by side: `python -m storymem evaluate --compare`.\n\n"
        "The I2V pair is not sampled here; *M2V Sampler* checks that it is there.",
        is_two_stage=False,
    )


def two_stage_graph(info: dict) -> dict:
    return baseline_graph(
        info,
        "baselines/two_stage",
        title="Baseline: key images first, then image to video",
        text="The form of StoryDiffusion and IC-LoRA in the paper's comparison: consistent "
        "pictures first, by any image model, then every shot from its own picture by plain Wan2.2 "
        "I2V.\n\n"
        "1. Make one picture per shot, all of one size, named `shot_01_01.png` (scene, shot) and "
        "so on, and put them into `input/start_images`.\n"
        "2. Queue. Change a picture, and only its shot is regenerated.\n"
        "3. Instead of a folder, any IMAGE batch with one picture per shot can go to "
        "*start_images*. Or put an image model between Open's *prompt* and M2V Sampler's "
        "*start_image*, and set the sampler's *continuity* to `cut`: then it makes each shot's "
        "picture inside the loop.",
        is_two_stage=True,
    )


GRAPHS = {"baselines/wan": wan_graph, "baselines/two_stage": two_stage_graph}
