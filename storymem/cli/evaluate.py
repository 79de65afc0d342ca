"""``python -m storymem evaluate``: finished stories in, the paper's numbers out."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from ..files.disk import check_out
from ..film.finished_story import StoryFilm, find_stories, name_apart, open_film
from ..headless.judges import on_device, require_file
from ..metrics.models import FEATURES, MetricFiles, load_metric_models
from ..metrics.report import Measurement, as_table, write_report
from ..metrics.scores import MetricModels, StoryNumbers, measure_story
from ..models.weights import CLIP_L14, LAION_LINEAR, VICLIP
from .exit_codes import DONE, INCOMPLETE, INTERRUPTED, REFUSED

TINY_WORLD = "tiny_world"
REPORT = "the report"
EXIT_CODES = """exit codes:
  0    everything was measured
  1    an unexpected error (with its traceback)
  2    an option, a folder, a script or a weights file is wrong; nothing was measured
  3    some stories could not be measured; the report holds the others and says which
  130  interrupted; nothing was written"""
logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem evaluate`` to its parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    parser.add_argument("folders", type=Path, nargs="*", metavar="DIR",
        help="folder of a story (shot_01_01.mp4 ... and script.json or .txt), or folder of such "
        "folders; all of them are one system")  # fmt: skip
    parser.add_argument("--compare", nargs="+", default=[], metavar="[NAME=]DIR",
        help="systems to compare, each a folder of stories; differences are relative to the first "
        "one")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--script", type=Path, help="script of the one story, if not in its folder")
    parser.add_argument("--partial", action="store_true", help="measure unfinished stories too")
    add_model_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, warnings only")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """What measures; shared with the command that also makes the stories."""
    group = parser.add_argument_group("metrics models (local files; nothing is downloaded)")
    add = group.add_argument
    add("--features", default="viclip", choices=(*FEATURES, TINY_WORLD),
        help="viclip: the paper's. open_clip_frame_average: a stand-in from --clip alone, in "
        "columns of its own. tiny_world: stories of the tiny model, by its judge, without "
        "weights, in columns of its own")  # fmt: skip
    add("--viclip", type=Path, help="ViClip-InternVid-10M-FLT.pth")
    add("--clip", type=Path, help="CLIP ViT-L/14, for aesthetic quality and for the stand-in")
    add("--laion", type=Path, help="sa_0_4_vit_l_14_linear.pth; without it aesthetic quality is "
        "left out")  # fmt: skip
    add("--aesthetic-every", type=int, default=1, metavar="N",
        help="score one frame in N; the paper uses 1")  # fmt: skip
    add("--measure-device", choices=("cuda", "cpu"), help="default: cuda when there is one")


def run(options: argparse.Namespace) -> int:
    """The whole command; its exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__.split(".")[0]).setLevel(
        logging.WARNING if options.quiet else logging.INFO
    )
    try:
        systems = _systems(options)
        films, failures = open_films(systems, script=options.script, partial=options.partial)
        models = read_metric_models(options)
        check_out(options.out, REPORT)
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    return report(films, models, options.out, failures, quiet=options.quiet)


def report(
    films: Mapping[str, Mapping[str, StoryFilm]],
    models: MetricModels,
    out: Path,
    failures: Mapping[str, str],
    *,
    quiet: bool,
) -> int:
    """Measure, write the report and show the table; the exit code."""
    failures = dict(failures)
    try:
        measured = measure_films(films, models, failures, quiet=quiet)
        if not measured:
            logger.error("error: no story could be measured: %s", "; ".join(failures.values()))
            return REFUSED
        result = Measurement(measured, models.columns, models.describe(), failures)
        sys.stdout.write(as_table(result) + "\n")  # first: a full disk does not take it
        page = write_report(out, result)
    except KeyboardInterrupt:
        logger.error("interrupted; nothing was written")
        return INTERRUPTED
    except OSError as error:
        logger.error("error: the report could not be written to %s: %s", out, error)
        return REFUSED
    for note in result.all_notes():
        logger.warning("note: %s", note)
    logger.info("report: %s", page)
    return INCOMPLETE if failures else DONE


def open_films(
    systems: Mapping[str, Sequence[Path]], *, script: Path | None = None, partial: bool = False
) -> tuple[dict[str, dict[str, StoryFilm]], dict[str, str]]:
    """The stories of every system by name, and why others cannot be measured.

    Raises:
        ValueError: when a folder holds no stories, or ``script`` is given for several.
    """
    folders = {name: [f for path in paths for f in find_stories(path)]
               for name, paths in systems.items()}  # fmt: skip
    if script and sum(map(len, folders.values())) > 1:
        raise ValueError("--script is for one story, but there are several; put a script.json or "
            "script.txt into each story's folder")  # fmt: skip
    films: dict[str, list[StoryFilm]] = {}
    failures: dict[str, str] = {}
    for name, paths in folders.items():
        opened = []
        for path in paths:
            try:
                opened.append(open_film(path, script, partial=partial))
            except ValueError as error:
                failures[str(path)] = str(error)
                logger.warning("%s", error)
        if opened:
            films[name] = opened
    if not films:
        raise ValueError(next(iter(failures.values())))
    return name_apart(films), failures


def measure_films(
    films: Mapping[str, Mapping[str, StoryFilm]],
    models: MetricModels,
    failures: dict[str, str],
    *,
    quiet: bool,
) -> dict[str, list[StoryNumbers]]:
    """Numbers of every story; one that cannot be read goes to ``failures``."""
    from tqdm.auto import tqdm

    every = [film for system in films.values() for film in system.values()]
    texts = [shot.prompt for film in every for shot in film.shots]
    models.features.read_ahead([*texts, *(film.overview.strip() for film in every)])
    total = sum(len(film.shots) for film in every)
    measured: dict[str, list[StoryNumbers]] = {}
    with tqdm(total=total, desc="shots", disable=quiet) as bar:

        def tell(_done: int, _of: int) -> None:
            bar.update()

        for system, stories in films.items():
            for name, film in stories.items():
                try:
                    numbers = measure_story(film, models, name=name, on_shot=tell)
                except ValueError as error:
                    failures[str(film.folder)] = str(error)
                    logger.warning("%s", error)
                    continue
                measured.setdefault(system, []).append(numbers)
    return measured


def check_model_options(options: argparse.Namespace) -> None:
    """Raise ValueError for a file that is needed and not there; nothing is read."""
    if options.aesthetic_every < 1:
        raise ValueError(
            f"--aesthetic-every must be 1 or more, but it is {options.aesthetic_every}"
        )
    if options.features == TINY_WORLD:
        if options.laion:
            raise ValueError(
                f"--features {TINY_WORLD} measures no aesthetic quality, since the predictor knows "
                "no such pictures; leave out --laion"
            )
        return
    if options.features == "viclip":
        require_file(options.viclip, "--viclip", VICLIP, "or use the stand-in: --features "
            "open_clip_frame_average with --clip")  # fmt: skip
    if options.features != "viclip" or options.laion:
        require_file(options.clip, "--clip", CLIP_L14)
    if options.laion:
        require_file(options.laion, "--laion", LAION_LINEAR)


def read_metric_models(options: argparse.Namespace) -> MetricModels:
    """The models that the options name.

    Raises:
        ValueError: for a file that is missing, or is not what it should be.
    """
    check_model_options(options)
    kind = options.measure_device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("--measure-device cuda was asked for, but torch sees no GPU; use cpu")
    if options.features == TINY_WORLD:
        from ..tiny.film_features import TinyWorld

        return MetricModels(TinyWorld(kind))
    if not options.laion:
        logger.warning("no --laion: aesthetic quality is left out")
    uses_clip = options.features != "viclip" or options.laion
    files = MetricFiles(options.viclip, options.clip if uses_clip else None, options.laion)
    wrap = partial(on_device, device=torch.device(kind))
    return load_metric_models(files, options.features, wrap=wrap, every=options.aesthetic_every)


def _systems(options: argparse.Namespace) -> dict[str, list[Path]]:
    if bool(options.folders) == bool(options.compare):
        raise ValueError("give folders to measure, or --compare with one folder for each system")
    if options.folders:
        return {"stories": options.folders}
    systems: dict[str, list[Path]] = {}
    for item in options.compare:
        name, found, path = item.partition("=")
        folder = Path(path if found else item)
        name = name if found else folder.resolve().name
        if name in systems:
            raise ValueError(f"two systems are called {name}; name them: --compare A=DIR B=DIR")
        systems[name] = [folder]
    return systems
