"""A finished story's shots, upscaled one by one with the host's nodes, and joined anew."""

from __future__ import annotations

from helpers.workflow_files import Builder

PREFIX = "storymem_tiny_cpu"
NOTE = """# Finish a story

Every shot of a finished story goes through the nodes of group 3, and is joined to a new film \
beside the old one, with a timeline for editing programs. The story's memory is not touched.

1. Queue `storymem_tiny_cpu` first, or type the folder of a story of your own into *folder* of \
*Story Shots*, and the folder that it is in as *filename_prefix* of *Shot Loop Open*.
2. Put between *Story Shots* and *Shot Loop Close* whatever works on images: *Upscale Image (using \
Model)*, *Frame Interpolation* (ComfyUI 0.33 has it), grain, colour. *Upscale Image By* needs no \
model.
3. Queue. The results are in `output/storymem_tiny_cpu/Bomo and Fipi finished/`.

- Only shots that have another take or another edit than last time are worked on again.
- *frame_count* 16: each shot goes through in parts of 16 frames, so that a shot upscaled four \
times takes 3 GB of memory and not 6. 0 is whole shots.
- Interpolation that doubles the frames: take the wire off *fps* of *Shot Loop Close* and give it \
twice the number.
- *codec* prores or h265 (*Shot Loop Close*): masters of 10 bits in the folder `masters`, which \
the timeline then points to. *timeline* fcpxml is for DaVinci Resolve and Final Cut Pro, edl for \
24 fps and above.
"""


def finish_graph(info: dict) -> dict:
    graph = Builder(info, "storymem_finish")
    column = graph.column(0, width=380)
    whole = column.add(
        "StoryMemStoryShots",
        title="Story Shots: the story",
        folder=f"{PREFIX}/Bomo and Fipi",
        index=0,
    )
    graph.group("1  The finished story", column.nodes, "#8a6d3b")

    column = graph.column(460, width=380)
    start = column.add(
        "StoryMemShotLoopOpen",
        story=(whole, "story"),
        continuity="cut",
        filename_prefix=PREFIX,
    )
    graph.group("2  One by one", column.nodes)

    column = graph.column(920, width=380)
    shot = column.add(
        "StoryMemStoryShots",
        title="Story Shots: one shot",
        folder=(whole, "folder"),
        index=(start, "shot_number"),
        frame_count=16,
    )
    scale = column.add(
        "ImageScaleBy", image=(shot, "frames"), upscale_method="lanczos", scale_by=2.0
    )
    graph.group("3  What is done with each shot", column.nodes, "#6b8e23")

    column = graph.column(1380, width=460)
    column.add(
        "StoryMemShotLoopClose",
        flow=(start, "flow"),
        frames=(scale, "IMAGE"),
        bank=(start, "bank"),
        shot_audio=(shot, "audio"),
        fps=(whole, "fps"),
        timeline="otio",
    )
    graph.group("4  The finished film", column.nodes, "#a1309b")
    graph.note((0, -520), (900, 420), "Finish a story", NOTE)
    return graph.file()


GRAPHS = {"storymem_finish": finish_graph}
