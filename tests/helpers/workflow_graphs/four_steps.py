"""The full story with 4-step distilled LoRAs."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .film import add_film
from .parts import add_models, model_note, negative_note

SETTINGS = {
    "steps": 4,
    "cfg": 1.0,
    "sampler_name": "euler",
    "scheduler": "simple",
    "shift": 5.0,
}
TITLE_NOTE = """# StoryMem in 4 steps

The whole story as in *storymem_story*, with the lightx2v 4-step LoRA pair on top of the StoryMem \
pair. For drafts and for long stories: see how the shots follow each other first, then make the \
ones that matter with 40 steps.

1. Load the model files (table on the right): the two 4-step files go into `models/loras` too.
2. Write the story in *Load Story*, queue, find the film in `output/storymem_4_steps/<story>/`: \
a folder of its own, so that a draft never takes the place of a final film.

**The trade.** Distilled LoRAs move less and follow the prompt less closely than 40 steps with \
CFG 3.5. When a shot hardly moves: lower *strength_model* of the high-noise 4-step LoRA (0.6 to \
0.8), or set *steps* to 6 or 8. For the paper's recipe bypass both 4-step LoRAs (Ctrl+B) and set \
40 steps, cfg 3.5, storymem_unipc, storymem, shift 4.

The negative prompt does nothing at cfg 1: write what you want to see into the prompt.
"""
SETTINGS_NOTE = """## What differs, and why

| setting | here | full recipe | why |
|---|---|---|---|
| steps | 4 | 40 | what the LoRA pair is distilled for |
| cfg | 1 | 3.5 | built into the LoRA; one model call a step, not two |
| sampler | euler | storymem_unipc | one straight step after the other |
| scheduler | simple | storymem | the sigmas that the LoRA pair is distilled for |
| shift | 5 | 4 | what the LoRA pair is made for |
| boundary | 0.9 | 0.9 | unchanged: steps at sigma 1 and 0.94 are high noise, 0.83 and 0.63 low, \
so 2 + 2 |

**Computed:** 4 model calls a shot where the full recipe has 80.

**Published elsewhere:** steps, cfg, sampler, scheduler, shift and strength are those of \
ComfyUI's own Wan2.2 4-step template, which names 71 s a clip against 513 s with its 20 steps \
(640x640, RTX 4090D, without StoryMem).

**Measured here:** that this graph runs, with tiny stand-ins for the models. **Not measured:** \
how it looks and how long it takes with the real ones; strengths and 6 to 8 steps are what \
artists report.
"""


def four_steps_graph(info: dict) -> dict:
    graph = Builder(info, "storymem_4_steps")
    add_film(
        graph, add_models(graph, lightning_mode=0), sampler=SETTINGS, prefix="storymem_4_steps"
    )
    graph.note((0, -520), (700, 380), "StoryMem in 4 steps", TITLE_NOTE)
    graph.note((740, -520), (740, 380), "The settings", SETTINGS_NOTE)
    note = model_note(t2v=False, lightning=True)
    graph.note((1520, -520), (700, 380), "Model files", note)
    negative_note(graph, (2260, -520), 380)
    return graph.file()


GRAPHS = {"storymem_4_steps": four_steps_graph}
