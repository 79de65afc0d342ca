"""What the shipped graphs share: files and where they come from, prompts, the loaders' column."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from helpers.workflow_files import Builder
from storymem.sampling.recipe import NEGATIVE_PROMPT

WAN = "https://huggingface.co/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
WAN21 = "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
MEMENTO = "https://huggingface.co/ernie-research/Memento/resolve/main"
STORYMEM = "https://huggingface.co/Kevin-thu/StoryMem/resolve/main"
NEGATIVE = NEGATIVE_PROMPT
NEGATIVE_NOTE = """## The negative prompt

It is Wan2.2's own, in Chinese, which the released StoryMem uses for every pass. In English it \
says:

*gaudy colours, overexposed, static, blurred details, subtitles, style, artwork, painting, \
picture, still, greyish overall, worst quality, low quality, JPEG artifacts, ugly, mutilated, \
extra fingers, badly drawn hands, badly drawn face, malformed, disfigured, misshapen limbs, fused \
fingers, motionless picture, cluttered background, three legs, many people in the background, \
walking backwards*

Write your own instead, in any language, or add to it. At cfg 1 it has no effect.
"""
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


def lightning_lora(noise: str) -> dict:
    name = f"wan2.2_i2v_lightx2v_4steps_lora_v1_{noise}_noise.safetensors"
    return model(name, f"{WAN}/loras/{name}", "loras")


def model_table(rows: list[tuple[str, dict]]) -> str:
    """Each file, its folder, where it comes from."""
    lines = ["## Model files", "", "| what | file | folder |", "|---|---|---|"]
    lines += [f"| {w} | [{m['name']}]({m['url']}) | `models/{m['directory']}` |" for w, m in rows]
    return "\n".join(lines)


def model_note(t2v: bool, *, lightning: bool = False) -> str:
    """The models table: each file, its folder, where it comes from."""
    rows = [
        ("Wan2.2 I2V high noise", wan_unet("i2v", "high")),
        ("Wan2.2 I2V low noise", wan_unet("i2v", "low")),
        ("StoryMem LoRA high noise", storymem_lora("mi2v", "high")),
        ("StoryMem LoRA low noise", storymem_lora("mi2v", "low")),
        ("Text encoder", T5),
        ("VAE", VAE),
    ]
    if lightning:
        rows.append(("4-step LoRA high noise", lightning_lora("high")))
        rows.append(("4-step LoRA low noise", lightning_lora("low")))
    if t2v:
        rows.append(("Optional: Wan2.2 T2V high noise", wan_unet("t2v", "high")))
        rows.append(("Optional: Wan2.2 T2V low noise", wan_unet("t2v", "low")))
    lines = [
        model_table(rows),
        "",
        "The two StoryMem files come as `backbone_high_noise.safetensors` and "
        "`backbone_low_noise.safetensors` in the folder `Wan2.2-MI2V-A14B`. Nothing need be "
        "renamed: *Load Story LoRA* finds them in `models/loras` with that folder, without it, "
        "or under the names above. `Wan2.2-MI2V-A14B` continues a shot from its last frame; for "
        "*last_five_frames* take the `Wan2.2-MM2V-A14B` pair instead, and keep the folders' names, "
        "because the files of both pairs are called the same.",
        "",
        "**Licences.** Wan2.2 is Apache-2.0. The StoryMem LoRA is CC BY-NC 4.0: **not for "
        "commercial use**.",
    ]
    return "\n".join(lines)


def memento_lora(noise: str) -> dict:
    return model(f"memento_{noise}_noise.pth", f"{MEMENTO}/backbone_{noise}_noise.pth", "loras")


def add_models(
    graph: Builder,
    *,
    lightning_mode: int | None = None,
    lora: Callable[[str], dict] | None = None,
) -> dict:
    """Loaders in the first column; the values that the rest of a graph needs.

    ``lightning_mode``: the 4-step LoRA pair too, active (0) or bypassed. ``lora``: gives the file
    of an expert; ``None``: StoryMem's.
    """
    lora = lora or partial(storymem_lora, "mi2v")
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
    pair = column.add(
        "StoryMemLoadLoRA",
        models=[lora("high"), lora("low")],
        model_high=(unets["high"], "MODEL"),
        model_low=(unets["low"], "MODEL"),
        lora_high=lora("high")["name"],
        lora_low=lora("low")["name"],
    )
    experts = {noise: (pair, f"model_{noise}") for noise in ("high", "low")}
    if lightning_mode is not None:
        for noise, expert in experts.items():
            added = column.add(
                "LoraLoaderModelOnly",
                title=f"4-step LoRA, {noise} noise",
                models=[lightning_lora(noise)],
                mode=lightning_mode,
                model=expert,
                lora_name=lightning_lora(noise)["name"],
                strength_model=1.0,
            )
            experts[noise] = (added, "MODEL")
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
        "model_high": experts["high"],
        "model_low": experts["low"],
        "clip": (clip, "CLIP"),
        "vae": (vae, "VAE"),
        "nodes": {**unets, "lora": pair},
    }


def negative_note(graph: Builder, at: tuple[int, int], height: int = 420) -> None:
    """What the negative prompt says, in English, for those who do not read it."""
    graph.note(at, (560, height), "The negative prompt", NEGATIVE_NOTE)
