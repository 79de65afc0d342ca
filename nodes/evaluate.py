"""Evaluate Story: the paper's numbers for a finished story."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..storymem.film.finished_story import StoryFilm, open_film
from ..storymem.metrics.models import FEATURES, MetricFiles, load_metric_models
from ..storymem.metrics.report import (
    Measurement,
    as_csv,
    as_table,
    heat_map,
    shot_rows,
    write_report,
)
from ..storymem.metrics.scores import MetricModels, measure_story
from ..storymem.models.weights import CLIP_L14, L14_NAMES, LAION_LINEAR, VICLIP
from .host.clip import clip_parts
from .host.folders import find_story, shortens_host_paths
from .host.models import HostModel, file_options, released_after, weights_path

VICLIP_NAMES = ("viclip",)
LINEAR_NAMES = ("vitl14linear", "l14linear")
WORKING_MEMORY = 1024**3  # ViCLIP L/14 on one clip of 2049 tokens, generously
REPORT_FOLDER = "metrics"  # inside the story's folder


def find_files(
    features: str, names: dict[str, str], *, is_aesthetic: bool, fetch: bool
) -> MetricFiles:
    """The files that ``names`` (or ``auto``) mean, of those that are needed."""
    needs_clip = is_aesthetic or features != "viclip"
    wanted = {
        "viclip": (features == "viclip", VICLIP, VICLIP_NAMES),
        "clip": (needs_clip, CLIP_L14, L14_NAMES),
        "laion": (is_aesthetic, LAION_LINEAR, LINEAR_NAMES),
    }
    return MetricFiles(
        **{
            kind: weights_path(source, names[kind], patterns, fetch=fetch)
            for kind, (is_needed, source, patterns) in wanted.items()
            if is_needed
        }
    )


def measure(film: StoryFilm, files: MetricFiles, features: str, every: int) -> Measurement:
    """Measure with models under the host's management; they leave the device afterwards."""
    lent: list[HostModel] = []

    def wrap(module: torch.nn.Module) -> HostModel:
        lent.append(HostModel(lambda: module, working_memory=WORKING_MEMORY))
        return lent[-1]

    models: MetricModels = load_metric_models(
        files, features, wrap=wrap, every=every, parts=clip_parts()
    )
    bar = comfy.utils.ProgressBar(len(film.shots))

    def tell(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    with released_after(*lent):
        numbers = measure_story(film, models, on_shot=tell)
    return Measurement({film.name: [numbers]}, models.columns, models.describe())


class EvaluateStory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemEvaluateStory",
            display_name="Evaluate Story",
            category="StoryMem/story",
            search_aliases=[
                "consistency metrics",
                "character consistency",
                "ST-Bench",
                "benchmark",
                "一致性评测",
            ],
            description="Measures a finished story as the paper does: aesthetic quality, how well "
            "shots follow their prompts, and how similar they look. Writes a report page, JSON and "
            "CSV into the story's folder.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="storymem/my_story",
                    tooltip="Connect the folder output of Shot Loop Close, or type a story's "
                    "folder inside the output folder.",
                ),
                io.Combo.Input(
                    "features",
                    options=list(FEATURES),
                    default=FEATURES[0],
                    tooltip="viclip: as in the paper. open_clip_frame_average: a stand-in from "
                    "CLIP ViT-L/14 alone; its numbers go by other names and cannot be compared "
                    "with the paper's.",
                ),
                io.Combo.Input(
                    "aesthetic",
                    options=["laion", "none"],
                    default="laion",
                    tooltip="laion: the predictor that VBench uses, averaged over all frames, 0 to "
                    "1. none: skip it, which is much faster.",
                ),
                io.Combo.Input(
                    "viclip_name",
                    options=file_options(VICLIP.folder),
                    default="auto",
                    tooltip="ViCLIP L/14 in models/viclip (ViClip-InternVid-10M-FLT.pth, 1.7 GB).",
                ),
                io.Combo.Input(
                    "clip_name",
                    options=file_options(CLIP_L14.folder),
                    default="auto",
                    tooltip="CLIP ViT-L/14 in models/clip_vision, for aesthetic and for the "
                    "stand-in (which needs the text tower, too: OpenAI's ViT-L-14.pt).",
                ),
                io.Combo.Input(
                    "aesthetic_file",
                    options=file_options(LAION_LINEAR.folder),
                    default="auto",
                    tooltip="The linear head in models/aesthetics: sa_0_4_vit_l_14_linear.pth. "
                    "Another head gets a column of its own.",
                ),
                io.Int.Input(
                    "aesthetic_every",
                    default=1,
                    min=1,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="Score one frame out of this many. 1: every frame, as in the paper. 8 "
                    "gives a fair estimate in an eighth of the time.",
                ),
                io.Boolean.Input(
                    "partial",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="If shots are missing, measure the ones that are there. Off: stop and "
                    "list the missing ones.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Download missing weights (ViCLIP 1.7 GB, CLIP ViT-L/14 933 MB). Off: "
                    "nothing is ever downloaded.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="The story's numbers, and where the report page is.",
                ),
                io.String.Output(display_name="table", tooltip="A row per shot, as CSV."),
                io.Image.Output(
                    display_name="heat_map",
                    tooltip="How similar the shots are: dark is 0, bright is 1.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, folder=None, **_):
        # A typed folder stays the same text while the files in it change.
        try:
            files = sorted(p for p in find_story(folder).iterdir() if p.is_file())
        except (AttributeError, ValueError):
            return ""
        return [f"{p.name}:{p.stat().st_mtime_ns}:{p.stat().st_size}" for p in files]

    @classmethod
    @shortens_host_paths
    def execute(
        cls,
        folder,
        features,
        aesthetic,
        viclip_name,
        clip_name,
        aesthetic_file,
        aesthetic_every=1,
        partial=False,
        download=False,
    ):
        film = open_film(find_story(folder), partial=partial)
        names = {"viclip": viclip_name, "clip": clip_name, "laion": aesthetic_file}
        files = find_files(features, names, is_aesthetic=aesthetic == "laion", fetch=download)
        measured = measure(film, files, features, aesthetic_every)
        page = write_report(film.folder / REPORT_FOLDER, measured)
        report = "\n".join([as_table(measured), *measured.all_notes(), f"Report: {page}"])
        ((_, story),) = measured.stories
        picture = heat_map(story.similarity, [shot.label for shot in story.shots])
        image = torch.from_numpy(picture.copy()).float()[None] / 255
        shown = ui.PreviewImage(image, cls=cls).as_dict() | ui.PreviewText(report).as_dict()
        return io.NodeOutput(report, as_csv(shot_rows(measured)), image, ui=shown)


NODES = [EvaluateStory]
