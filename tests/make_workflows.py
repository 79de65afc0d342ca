"""Writes ``workflows/*.json``: ``python tests/make_workflows.py`` with a ComfyUI server running.

The host's node descriptions (``--server``, default http://127.0.0.1:8188) decide widget order.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from workflow_files import MUTED, Builder

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
WAN = "https://huggingface.co/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
WAN21 = "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
STORYMEM = "https://huggingface.co/Kevin-thu/StoryMem/resolve/main"
NEGATIVE = (
    "oversaturated, overexposed, static, blurry details, subtitles, style, artwork, painting, "
    "still picture, grey overall, worst quality, low quality, jpeg artifacts, ugly, mutilated, "
    "extra fingers, badly drawn hands, badly drawn face, deformed, disfigured, fused fingers, "
    "motionless frame, cluttered background, three legs, crowd in the background, walking backwards"
)
STORY = """[title: The Lighthouse]
[character]
Mara is a young woman with short copper hair, round glasses and a mustard raincoat.
Pip is her small grey terrier with one white ear.
---
Wide shot. Dawn in a quiet harbour town. Mara walks along the wet pier with Pip at her heels, \
gulls circling over moored boats. Soft golden light, slow dolly forward.
---
[continue]
Mara stops beside an old green rowing boat and crouches to untie the rope. Pip jumps in first. \
Medium shot, the camera settles with her.
---
Close-up in the boat on open water. Mara pulls the oars and laughs as spray hits her glasses. \
Pip stands at the bow, ears in the wind. Handheld, bright morning.
---
Wide shot. The green boat lands on a small pebble island with a white lighthouse. Mara lifts Pip \
out and looks up at the tower. High crane shot, late morning light.
"""


def model(name: str, url: str, folder: str) -> dict:
    return {"name": name, "url": url, "directory": folder}


def wan_unet(kind: str, noise: str) -> dict:
    name = f"wan2.2_{kind}_{noise}_noise_14B_fp8_scaled.safetensors"
    return model(name, f"{WAN}/diffusion_models/{name}", "diffusion_models")


def storymem_lora(family: str, noise: str) -> dict:
    return model(
        f"storymem_{family}_{noise}_noise.safetensors",
        f"{STORYMEM}/Wan2.2-{family.upper()}-A14B/backbone_{noise}_noise.safetensors",
        "loras",
    )


VAE = model("wan_2.1_vae.safetensors", f"{WAN}/vae/wan_2.1_vae.safetensors", "vae")
T5 = model(
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    f"{WAN21}/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "text_encoders",
)


def model_note(t2v: bool) -> str:
    """The models table: each file, its folder, where it comes from."""
    rows = [
        ("Wan2.2 I2V high noise", wan_unet("i2v", "high")),
        ("Wan2.2 I2V low noise", wan_unet("i2v", "low")),
        ("StoryMem LoRA high noise", storymem_lora("mi2v", "high")),
        ("StoryMem LoRA low noise", storymem_lora("mi2v", "low")),
        ("Text encoder", T5),
        ("VAE", VAE),
    ]
    if t2v:
        rows.append(("Optional: Wan2.2 T2V high noise", wan_unet("t2v", "high")))
        rows.append(("Optional: Wan2.2 T2V low noise", wan_unet("t2v", "low")))
    lines = ["## Model files", "", "| what | file | folder |", "|---|---|---|"]
    lines += [f"| {w} | [{m['name']}]({m['url']}) | `models/{m['directory']}` |" for w, m in rows]
    lines += [
        "",
        "The two StoryMem files are called `backbone_high_noise.safetensors` and "
        "`backbone_low_noise.safetensors` where they come from: save them under the names above. "
        "`Wan2.2-MI2V-A14B` continues a shot from its last frame; for *last_five_frames* take the "
        "`Wan2.2-MM2V-A14B` pair instead.",
        "",
        "**Licences.** Wan2.2 is Apache-2.0. The StoryMem LoRA is CC BY-NC 4.0: **not for "
        "commercial use**.",
    ]
    return "\n".join(lines)


def add_models(graph: Builder) -> dict:
    """Loaders in the first column; the values that the rest of a graph needs."""
    column = graph.column(0)
    unets = {
        noise: column.add(
            "UNETLoader",
            title=f"Wan2.2 I2V, {noise} noise",
            models=[wan_unet("i2v", noise)],
            unet_name=wan_unet("i2v", noise)["name"],
            weight_dtype="default",
        )
        for noise in ("high", "low")
    }
    lora = column.add(
        "StoryMemLoadLoRA",
        models=[storymem_lora("mi2v", "high"), storymem_lora("mi2v", "low")],
        model_high=(unets["high"], "MODEL"),
        model_low=(unets["low"], "MODEL"),
        lora_high=storymem_lora("mi2v", "high")["name"],
        lora_low=storymem_lora("mi2v", "low")["name"],
    )
    clip = column.add(
        "CLIPLoader",
        title="Text encoder (umt5-xxl)",
        models=[T5],
        clip_name=T5["name"],
        type="wan",
        device="default",
    )
    vae = column.add("VAELoader", models=[VAE], vae_name=VAE["name"])
    graph.group("1  Models", column.nodes)
    return {
        "model_high": (lora, "model_high"),
        "model_low": (lora, "model_low"),
        "clip": (clip, "CLIP"),
        "vae": (vae, "VAE"),
    }


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


def two_shots_graph(info: dict) -> dict:
    """Two shots without the loop, every part visible, on the composable road."""
    graph = Builder(info, "storymem_two_shots")
    parts = add_models(graph)
    column = graph.column(420)
    negative = column.add(
        "CLIPTextEncode", title="Negative prompt", rows=10, clip=parts["clip"], text=NEGATIVE
    )
    bank = column.add("StoryMemMemoryBank", title="Memory Bank (empty at first)")
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    graph.group("2  Common to both shots", column.nodes, "#8a6d3b")

    first_column = graph.column(840, width=380)
    prompt = first_column.add(
        "CLIPTextEncode",
        title="Prompt of shot 1",
        rows=8,
        clip=parts["clip"],
        text=(
            "A young woman with short copper hair, round glasses and a mustard raincoat walks "
            "along a wet pier at dawn, a small grey terrier at her heels. Wide shot, slow "
            "dolly forward."
        ),
    )
    first = first_column.add(
        "StoryMemM2VSampler",
        title="Shot 1 (text alone)",
        model_high=parts["model_high"],
        model_low=parts["model_low"],
        positive=(prompt, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
        vae=parts["vae"],
        bank=(bank, "bank"),
    )
    column = graph.column(1280, width=360)
    decode = column.add("VAEDecode", samples=(first, "samples"), vae=parts["vae"])
    select = column.add(
        "StoryMemKeyframeSelect",
        frames=(decode, "IMAGE"),
        embedder=(embedder, "embedder"),
        bank=(bank, "bank"),
    )
    remember = column.add("StoryMemRemember", bank=(bank, "bank"), keyframes=(select, "keyframes"))
    column.add("StoryMemPreviewMemoryBank", bank=(remember, "bank"))
    graph.group("3  Shot 1 and what it leaves in memory", [*first_column.nodes, *column.nodes])

    columns = [graph.column(1720, width=400)]
    prompt = columns[0].add(
        "CLIPTextEncode",
        title="Prompt of shot 2",
        rows=8,
        clip=parts["clip"],
        text=(
            "The young woman stops beside an old green rowing boat and crouches to untie the "
            "rope; the terrier jumps in first. Medium shot."
        ),
    )
    conditioning = columns[0].add(
        "StoryMemM2VConditioning",
        title="M2V Conditioning (continues shot 1: MI2V)",
        positive=(prompt, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
        vae=parts["vae"],
        bank=(remember, "bank"),
        previous_frames=(decode, "IMAGE"),
        seed=1,
        continuity="last_frame",
    )
    columns.append(graph.column(2180, width=320))
    experts = []
    for noise in ("high", "low"):
        shifted = columns[1].add(
            "ModelSamplingSD3",
            title=f"Shift 4, {noise} noise",
            model=parts[f"model_{noise}"],
            shift=4.0,
        )
        patched = columns[1].add(
            "StoryMemM2VModelPatch",
            title=f"M2V Model Patch, {noise} noise",
            model=(shifted, "MODEL"),
            memory_frames=(conditioning, "memory_frames"),
        )
        experts.append((patched, "MODEL"))
    scheduler = columns[1].add(
        "BasicScheduler", model=experts[0], scheduler="simple", steps=40, denoise=1.0
    )
    split = columns[1].add(
        "SplitSigmas",
        title="13 of 40 steps by the high-noise expert",
        sigmas=(scheduler, "SIGMAS"),
        step=13,
    )
    euler = columns[1].add("KSamplerSelect", sampler_name="euler")
    columns.append(graph.column(2560, width=320))
    guiders = [
        (
            columns[2].add(
                "CFGGuider",
                title=f"Guider, {noise} noise",
                model=expert,
                positive=(conditioning, "positive"),
                negative=(conditioning, "negative"),
                cfg=3.5,
            ),
            "GUIDER",
        )
        for noise, expert in zip(("high", "low"), experts, strict=True)
    ]
    high = columns[2].add(
        "SamplerCustomAdvanced",
        title="High-noise steps",
        noise=(conditioning, "noise"),
        guider=guiders[0],
        sampler=(euler, "SAMPLER"),
        sigmas=(split, "high_sigmas"),
        latent_image=(conditioning, "latent"),
    )
    silence = columns[2].add("DisableNoise")
    low = columns[2].add(
        "SamplerCustomAdvanced",
        title="Low-noise steps",
        noise=(silence, "NOISE"),
        guider=guiders[1],
        sampler=(euler, "SAMPLER"),
        sigmas=(split, "low_sigmas"),
        latent_image=(high, "output"),
    )
    graph.group(
        "4  Shot 2, every part visible", [node for c in columns for node in c.nodes], "#6b8e23"
    )

    column = graph.column(2960, width=420)
    trim = column.add(
        "TrimVideoLatent",
        title="Take the memory frames off",
        samples=(low, "output"),
        trim_amount=(conditioning, "memory_frames"),
    )
    second = column.add("VAEDecode", samples=(trim, "LATENT"), vae=parts["vae"])
    rest = column.add(
        "ImageFromBatch",
        title="Take the repeated first frame off",
        image=(second, "IMAGE"),
        batch_index=1,
        length=4096,
    )
    both = column.add(
        "BatchImagesNode",
        title="Shot 1, then shot 2",
        **{"images.image0": (decode, "IMAGE"), "images.image1": (rest, "IMAGE")},
    )
    video = column.add("CreateVideo", images=(both, "IMAGE"), fps=16.0)
    column.add("SaveVideo", video=(video, "VIDEO"), filename_prefix="storymem/two_shots")
    graph.group("5  The film", column.nodes, "#a1309b")
    graph.note(
        (0, -560),
        (900, 420),
        "StoryMem: two shots, no loop",
        "# StoryMem: two shots, no loop\n\n"
        "The same method with every part on the table. Shot 1 uses the easy road, *M2V Sampler*, "
        "which does all of group 4 by itself. Shot 2 uses the composable road: *M2V Conditioning* "
        "joins memory and shot, *M2V Model Patch* gives the memory its negative positions, stock "
        "nodes sample, and *Trim Video Latent* takes the memory off again.\n\n"
        "The stock samplers run one expert after the other, so they start their history anew at "
        "the switch: use euler here, which has none. *M2V Sampler* switches inside one run and "
        "works with any sampler.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=False))
    return graph.file()


def one_wire_graph(info: dict) -> dict:
    """Two shots around one wire: what goes between Start Loop and End Loop of newer hosts."""
    graph = Builder(info, "storymem_core_loop")
    parts = add_models(graph)
    column = graph.column(420, width=440)
    script = column.add("StoryMemLoadStory", rows={"script": 18, "character": 4}, script=STORY)
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    begin = column.add("StoryMemBeginStory", story=(script, "story"), negative=NEGATIVE)
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
    return graph.file()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    arguments = parser.parse_args()
    with urllib.request.urlopen(f"{arguments.server}/object_info") as answer:
        info = json.loads(answer.read())
    files = {
        "storymem_story": story_graph(info, references=False),
        "storymem_reference_images": story_graph(info, references=True),
        "storymem_two_shots": two_shots_graph(info),
        "storymem_core_loop": one_wire_graph(info),
    }
    for name, workflow in files.items():
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        (WORKFLOWS / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
