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
STORY = """Mara is a young woman with short copper hair, round glasses and a mustard raincoat.
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


def add_models(graph: Builder, x: int) -> dict:
    """Loaders in one column; the values that the rest of a graph needs."""
    high = graph.add(
        "UNETLoader",
        (x, 0),
        title="Wan2.2 I2V, high noise",
        models=[wan_unet("i2v", "high")],
        unet_name=wan_unet("i2v", "high")["name"],
        weight_dtype="default",
    )
    low = graph.add(
        "UNETLoader",
        (x, 150),
        title="Wan2.2 I2V, low noise",
        models=[wan_unet("i2v", "low")],
        unet_name=wan_unet("i2v", "low")["name"],
        weight_dtype="default",
    )
    lora = graph.add(
        "StoryMemLoadLoRA",
        (x, 300),
        models=[storymem_lora("mi2v", "high"), storymem_lora("mi2v", "low")],
        model_high=(high, "MODEL"),
        model_low=(low, "MODEL"),
        lora_high=storymem_lora("mi2v", "high")["name"],
        lora_low=storymem_lora("mi2v", "low")["name"],
    )
    clip = graph.add(
        "CLIPLoader",
        (x, 620),
        title="Text encoder (umt5-xxl)",
        models=[T5],
        clip_name=T5["name"],
        type="wan",
        device="default",
    )
    vae = graph.add("VAELoader", (x, 800), models=[VAE], vae_name=VAE["name"])
    graph.group("1  Models", [high, low, lora, clip, vae])
    return {
        "model_high": (lora, "model_high"),
        "model_low": (lora, "model_low"),
        "clip": (clip, "CLIP"),
        "vae": (vae, "VAE"),
    }


def story_graph(info: dict, *, references: bool) -> dict:
    """The full story: models, script and memory, the body of the loop, the film."""
    name = "storymem_reference_images" if references else "storymem_story"
    graph = Builder(info, name)
    parts = add_models(graph, 0)

    x = 460
    script = graph.add("StoryMemLoadStory", (x, 0), width=420, rows=14, script=STORY)
    bank_inputs = {}
    images: list[dict] = []
    if references:
        first = graph.add("LoadImage", (x, 640), title="Reference: first character", width=300)
        second = graph.add("LoadImage", (x + 320, 640), title="Reference: second", width=300)
        batch = graph.add(
            "ImageBatch",
            (x + 320, 1080),
            title="Both references",
            width=300,
            image1=(first, "IMAGE"),
            image2=(second, "IMAGE"),
        )
        images = [first, second, batch]
        bank_inputs["images"] = (batch, "IMAGE")
    bank_y = 1200 if references else 560
    bank = graph.add("StoryMemMemoryBank", (x, bank_y), width=420, **bank_inputs)
    graph.group("2  Story and memory", [script, bank, *images], "#8a6d3b")

    x = 1180 if references else 980
    start = graph.add("StoryMemShotLoopOpen", (x, 0), story=(script, "story"), bank=(bank, "bank"))
    positive = graph.add(
        "CLIPTextEncode",
        (x, 460),
        title="Prompt of this shot",
        rows=3,
        clip=parts["clip"],
        text=(start, "prompt"),
    )
    negative = graph.add(
        "CLIPTextEncode",
        (x, 620),
        title="Negative prompt",
        rows=6,
        clip=parts["clip"],
        text=NEGATIVE,
    )
    sampler_inputs = {}
    if not references:
        for y, noise in ((900, "high"), (1050, "low")):
            loader = graph.add(
                "UNETLoader",
                (x - 520, y),
                title=f"Optional: Wan2.2 T2V, {noise} noise",
                models=[wan_unet("t2v", noise)],
                mode=MUTED,
                unet_name=wan_unet("t2v", noise)["name"],
                weight_dtype="default",
            )
            sampler_inputs[f"t2v_{noise}"] = (loader, "MODEL")
        optional = graph.nodes[-2:]
        graph.group("Optional: T2V pair for the first shot (select, Ctrl+M)", optional, "#555")
    sampler = graph.add(
        "StoryMemM2VSampler",
        (x + 400, 0),
        width=360,
        model_high=parts["model_high"],
        model_low=parts["model_low"],
        positive=(positive, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
        vae=parts["vae"],
        bank=(start, "bank"),
        shot=(start, "shot"),
        previous_frames=(start, "previous_frames"),
        **sampler_inputs,
    )
    decode = graph.add(
        "VAEDecode", (x + 400, 980), width=360, samples=(sampler, "samples"), vae=parts["vae"]
    )
    graph.group(
        "3  One shot (this part runs once per shot)", [start, positive, negative, sampler, decode]
    )

    x += 840
    keyframes = graph.add(
        "StoryMemKeyframeSelect",
        (x, 0),
        frames=(decode, "IMAGE"),
        bank=(start, "bank"),
        shot=(start, "shot"),
    )
    remember = graph.add(
        "StoryMemRemember", (x, 420), bank=(start, "bank"), keyframes=(keyframes, "keyframes")
    )
    graph.group("4  What is remembered", [keyframes, remember], "#6b8e23")

    x += 420
    close = graph.add(
        "StoryMemShotLoopClose",
        (x, 0),
        width=420,
        flow=(start, "flow"),
        frames=(decode, "IMAGE"),
        bank=(remember, "bank"),
    )
    preview = graph.add("StoryMemPreviewMemoryBank", (x, 600), width=420, bank=(close, "bank"))
    graph.group("5  The film", [close, preview], "#a1309b")

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
        "first line is `[continue]` goes on from the shot before without a cut. Text before the "
        "first `---` describes the characters and is put before every prompt. ST-Bench JSON works "
        "too.\n"
        f"3. {what}\n"
        "4. Queue. Each shot is saved as soon as it is done, in `output/storymem/<story>/`. Stop "
        "whenever you like: queue again and it goes on where it stopped. Change a shot, and only "
        "that shot and the ones after it are made again.\n\n"
        "Recipe of the paper: 832x480, 81 frames, 40 steps, uni_pc, shift 4, CFG 3.5. For a fast "
        "try: 4 steps and CFG 1 with the lightx2v LoRAs loaded before *Load StoryMem LoRA*.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=not references))
    return graph.file()


def two_shots_graph(info: dict) -> dict:
    """Two shots without the loop, every part visible, on the composable road."""
    graph = Builder(info, "storymem_two_shots")
    parts = add_models(graph, 0)
    negative = graph.add(
        "CLIPTextEncode",
        (460, 0),
        title="Negative prompt",
        rows=6,
        clip=parts["clip"],
        text=NEGATIVE,
    )
    bank = graph.add("StoryMemMemoryBank", (460, 300), title="Memory Bank (empty at first)")
    graph.group("2  Common to both shots", [negative, bank], "#8a6d3b")

    x = 900
    first_prompt = graph.add(
        "CLIPTextEncode",
        (x, 0),
        title="Prompt of shot 1",
        rows=8,
        clip=parts["clip"],
        text=(
            "A young woman with short copper hair, round glasses and a mustard raincoat walks "
            "along a wet pier at dawn, a small grey terrier at her heels. Wide shot, slow "
            "dolly forward."
        ),
    )
    first = graph.add(
        "StoryMemM2VSampler",
        (x, 320),
        title="Shot 1 (text alone)",
        width=360,
        model_high=parts["model_high"],
        model_low=parts["model_low"],
        positive=(first_prompt, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
        vae=parts["vae"],
        bank=(bank, "bank"),
    )
    x += 420
    decode = graph.add("VAEDecode", (x, 0), samples=(first, "samples"), vae=parts["vae"])
    select = graph.add(
        "StoryMemKeyframeSelect", (x, 140), frames=(decode, "IMAGE"), bank=(bank, "bank")
    )
    remember = graph.add(
        "StoryMemRemember", (x, 560), bank=(bank, "bank"), keyframes=(select, "keyframes")
    )
    look = graph.add("StoryMemPreviewMemoryBank", (x, 760), bank=(remember, "bank"))
    graph.group(
        "3  Shot 1 and what it leaves in memory",
        [first_prompt, first, decode, select, remember, look],
    )

    x += 460
    first_of_group = len(graph.nodes)
    second_prompt = graph.add(
        "CLIPTextEncode",
        (x, 0),
        title="Prompt of shot 2",
        rows=8,
        clip=parts["clip"],
        text=(
            "The young woman stops beside an old green rowing boat and crouches to untie the rope; "
            "the terrier jumps in first. Medium shot."
        ),
    )
    conditioning = graph.add(
        "StoryMemM2VConditioning",
        (x, 320),
        title="M2V Conditioning (continues shot 1: MI2V)",
        width=400,
        positive=(second_prompt, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
        vae=parts["vae"],
        bank=(remember, "bank"),
        previous_frames=(decode, "IMAGE"),
        seed=1,
        continuity="last_frame",
    )
    x += 460
    experts = []
    for y, noise in ((0, "high"), (300, "low")):
        shifted = graph.add(
            "ModelSamplingSD3",
            (x, y),
            title=f"Shift 4, {noise} noise",
            width=300,
            model=parts[f"model_{noise}"],
            shift=4.0,
        )
        patched = graph.add(
            "StoryMemM2VModelPatch",
            (x, y + 120),
            title=f"M2V Model Patch, {noise} noise",
            width=300,
            model=(shifted, "MODEL"),
            memory_frames=(conditioning, "memory_frames"),
        )
        experts.append(patched)
    scheduler = graph.add(
        "BasicScheduler",
        (x, 600),
        width=300,
        model=(experts[0], "MODEL" if "MODEL" in _output_names(experts[0]) else "model"),
        scheduler="simple",
        steps=40,
        denoise=1.0,
    )
    split = graph.add(
        "SplitSigmas",
        (x, 780),
        title="13 of 40 steps by the high-noise expert",
        width=300,
        sigmas=(scheduler, "SIGMAS"),
        step=13,
    )
    euler = graph.add("KSamplerSelect", (x, 900), width=300, sampler_name="euler")
    x += 360
    guiders = []
    for y, noise, expert in ((0, "high", experts[0]), (220, "low", experts[1])):
        guiders.append(
            graph.add(
                "CFGGuider",
                (x, y),
                title=f"Guider, {noise} noise",
                width=300,
                model=(expert, _output_names(expert)[0]),
                positive=(conditioning, "positive"),
                negative=(conditioning, "negative"),
                cfg=3.5,
            )
        )
    high = graph.add(
        "SamplerCustomAdvanced",
        (x, 440),
        title="High-noise steps",
        width=300,
        noise=(conditioning, "noise"),
        guider=(guiders[0], "GUIDER"),
        sampler=(euler, "SAMPLER"),
        sigmas=(split, "high_sigmas"),
        latent_image=(conditioning, "latent"),
    )
    silence = graph.add("DisableNoise", (x, 640), width=300)
    low = graph.add(
        "SamplerCustomAdvanced",
        (x, 740),
        title="Low-noise steps",
        width=300,
        noise=(silence, "NOISE"),
        guider=(guiders[1], "GUIDER"),
        sampler=(euler, "SAMPLER"),
        sigmas=(split, "low_sigmas"),
        latent_image=(high, "output"),
    )
    graph.group(
        "4  Shot 2, every part visible",
        graph.nodes[first_of_group:],
        "#6b8e23",
    )
    x += 360
    trim = graph.add(
        "TrimVideoLatent",
        (x, 0),
        title="Take the memory frames off",
        samples=(low, "output"),
        trim_amount=(conditioning, "memory_frames"),
    )
    decode2 = graph.add("VAEDecode", (x, 140), samples=(trim, "LATENT"), vae=parts["vae"])
    rest = graph.add(
        "ImageFromBatch",
        (x, 260),
        title="Take the repeated first frame off",
        image=(decode2, "IMAGE"),
        batch_index=1,
        length=4096,
    )
    both = graph.add(
        "ImageBatch",
        (x, 420),
        title="Shot 1, then shot 2",
        image1=(decode, "IMAGE"),
        image2=(rest, "IMAGE"),
    )
    video = graph.add("CreateVideo", (x, 540), images=(both, "IMAGE"), fps=16.0)
    save = graph.add(
        "SaveVideo", (x, 740), video=(video, "VIDEO"), filename_prefix="storymem/two_shots"
    )
    graph.group("5  The film", [trim, decode2, rest, both, video, save], "#a1309b")
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


def _output_names(node: dict) -> list[str]:
    return [output["name"] for output in node["outputs"]]


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
    }
    for name, workflow in files.items():
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        (WORKFLOWS / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
