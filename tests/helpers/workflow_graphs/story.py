"""The full story, begun from text or from portraits."""

from __future__ import annotations

from functools import partial

from helpers.workflow_files import Builder

from .film import add_film
from .parts import add_models, model_note, negative_note


def story_graph(info: dict, *, references: bool) -> dict:
    """The full story: models, script and memory, the body of the loop, the film."""
    graph = Builder(info, "storymem_reference_images" if references else "storymem_story")
    prefix = "storymem_reference_images" if references else "storymem"
    add_film(graph, add_models(graph), references=references, t2v=not references, prefix=prefix)
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
        f"4. Queue. Each shot is saved as soon as it is done, in `output/{prefix}/<story>/`. Stop "
        "whenever you like: queue again and it goes on where it stopped. Change a shot, and only "
        "that shot is regenerated, and those after it that see something else.\n"
        "5. Keyframes are chosen without any extra file at first. For the paper's own choice set "
        "*Load Embedder* to `clip` (CLIP ViT-B/32 in `models/clip_vision`) and *Load Scorer* to "
        "`hpsv3` (a large model) or `laion`.\n\n"
        "The released recipe: 832x480, 81 frames, 40 steps, storymem_unipc, storymem, shift 4, CFG "
        "3.5 (a first shot from text by the T2V pair: shift 12). For a fast try take the "
        "workflow *storymem_4_steps*, for a small card *storymem_low_vram*.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=not references))
    negative_note(graph, (2020, -560))
    return graph.file()


GRAPHS = {
    "storymem_story": partial(story_graph, references=False),
    "storymem_reference_images": partial(story_graph, references=True),
}
