"""The full story for small cards: fewer pixels, less memory, tiles; GGUF as a swap."""

from __future__ import annotations

from helpers.workflow_files import Builder
from storymem.files.workflow_file import BYPASSED

from .film import add_film
from .parts import add_models, model_note, negative_note

BANK = {"max_frames": 5, "sink": 3}
SETTINGS = {"width": 640, "height": 368, "length": 65, "steps": 20}
TILES = {"tile_size": 256, "overlap": 64, "temporal_size": 32, "temporal_overlap": 8}
GGUF = "https://huggingface.co/QuantStack/Wan2.2-I2V-A14B-GGUF/resolve/main"
TITLE_NOTE = """# StoryMem on a small card

The whole story as in *storymem_story*, set up for 8 to 12 GB of graphics memory. fp8 model \
files are active, so nothing has to be installed; for GGUF files see the note on the right.

1. Load the model files and choose them in group 1. Have 32 GB of RAM or more: the two experts \
take turns, and the one that waits lies there.
2. Write the story in *Load Story*, queue, find the film in `output/storymem_low_vram/<story>/`.
3. Faster: activate the two bypassed *4-step LoRA* nodes (select both, Ctrl+B) and set steps 4, \
cfg 1, euler, simple, shift 5 in *M2V Sampler*. 10 times fewer model calls, 1.2 GB more RAM a file.

**Still out of memory?** In this order: *length* 49, then *max_frames* 3 and *opening_frames* 1, \
then width and height 512x288; start ComfyUI with `--lowvram` on versions without dynamic memory. \
**Room left?** The other way round: first 832x480, then *max_frames* 10, then *length* 81, then 40 \
steps.

A shot that fails leaves the finished ones on disk: change the setting and queue again. (A \
changed size or length regenerates all shots.)
"""
SETTINGS_NOTE = """## What differs, and why

| setting | here | full recipe | why |
|---|---|---|---|
| width, height | 640x368 | 832x480 | 920 instead of 1560 tokens a latent frame |
| length | 65 (4 s) | 81 (5 s) | 17 instead of 21 latent frames |
| max_frames | 5 | 10 | each memory frame costs as much as 4 frames of the shot |
| steps | 20 | 40 | half the time; somewhat less detail |
| decoding | tiles of 256 px and 32 frames | whole | the decoder's peak no longer grows with the \
shot |
| keyframes | no_weights, sharpness | clip, hpsv3 | no further model on the card |

cfg, sampler, shift and boundary are the full recipe's.

**Computed:** memory and shot together are 20 240 tokens here, 48 360 in the full recipe: 42 % \
of the working memory, 18 % of the attention's work, and half the steps.

**Measured** on one H200 with that much of its memory left free, fp8 files of the real shapes, \
random weights, ComfyUI 0.33: this graph runs in 5 GiB, *storymem_story* in 11 GiB, but not in 7. \
What does not fit streams in from RAM. Other cards and real weights were not measured.

If tiles show as seams, raise *overlap* to 96; if you have the memory, use *VAE Decode* instead.
"""
GGUF_NOTE = f"""## GGUF instead of fp8

GGUF files are smaller still (Q4_K_M: 9.7 GB an expert, against 14 GB), and a little slower a \
step. They need a pack that is not part of ComfyUI, so they are not wired here: a node that is \
not installed would open as a red box.

1. In the Manager install **ComfyUI-GGUF** (by city96) and restart.
2. Put these two into `models/unet` or `models/diffusion_models`:
   - \
[Wan2.2-I2V-A14B-HighNoise-Q4_K_M.gguf]({GGUF}/HighNoise/Wan2.2-I2V-A14B-HighNoise-Q4_K_M.gguf)
   - [Wan2.2-I2V-A14B-LowNoise-Q4_K_M.gguf]({GGUF}/LowNoise/Wan2.2-I2V-A14B-LowNoise-Q4_K_M.gguf)
3. Add two *Unet Loader (GGUF)* nodes, choose one file in each, and connect their MODEL outputs \
to *model_high* and *model_low* of *Load Story LoRA*, in place of the two *Load Diffusion \
Model* nodes. Delete those.

Everything behind stays as it is: LoRAs, sampler, loop. Q5_K_M or Q6_K look better where they \
fit; Q3_K_M is for 8 GB cards. Sizes are those of the files; they were not measured.
"""


def low_vram_graph(info: dict) -> dict:
    graph = Builder(info, "storymem_low_vram")
    parts = add_models(graph, lightning_mode=BYPASSED)
    film = {"bank": BANK, "sampler": SETTINGS, "decode": ("VAEDecodeTiled", TILES)}
    add_film(graph, parts, **film, prefix="storymem_low_vram")
    graph.note((0, -560), (660, 420), "StoryMem on a small card", TITLE_NOTE)
    graph.note((700, -560), (680, 420), "The settings", SETTINGS_NOTE)
    graph.note((1420, -560), (500, 420), "GGUF instead of fp8", GGUF_NOTE)
    note = model_note(t2v=False, lightning=True)
    graph.note((1960, -560), (700, 420), "Model files", note)
    negative_note(graph, (2700, -560))
    return graph.file()


GRAPHS = {"storymem_low_vram": low_vram_graph}
