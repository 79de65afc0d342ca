"""``python -m storymem compare``: the same scripts made in several ways, and one table of them."""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from pathlib import Path

from ..files.disk import check_out
from ..files.images import find_pictures
from ..film.finished_story import read_script
from ..headless import parallel
from ..headless.heard import find_sounds
from ..loop.plan import LoopSettings
from ..sampling.start_images import from_folder
from ..script.numbers import parse_ranges
from . import evaluate, exit_codes, run_options
from . import run as command

SYSTEMS = {
    "storymem": "as set by the run options",
    "wan": "Wan2.2 alone: no StoryMem LoRA, no memory, a cut before every shot",
    "two_stage": "key images first, from --start-images: each shot from its own, otherwise as wan",
}
EPILOG = """everything after -- goes to 'storymem run', for all systems alike; only what makes a
system is changed. Finished shots are kept: the same command goes on where it stopped.

  python -m storymem compare --scripts a.json b.json --out results --systems storymem wan \\
      --viclip ViClip-InternVid-10M-FLT.pth -- --model Wan2.2-I2V --t2v Wan2.2-T2V --lora MI2V

exit codes:
  0    every story was made and measured
  1    an unexpected error (with its traceback)
  2    an option, a script or a file is wrong; stories that were finished are kept
  3    some stories could not be made or measured; the report says which
  130  interrupted; finished shots are kept"""
logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem compare`` to its parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("--scripts", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True,
        help="stories go to OUT/<system>/<script>, the report to OUT/report")  # fmt: skip
    parser.add_argument("--systems", nargs="+", default=["storymem", "wan"], choices=SYSTEMS,
        help="; ".join(f"{name}: {words}" for name, words in SYSTEMS.items()))  # fmt: skip
    parser.add_argument("--start-images", type=Path, metavar="DIR",
        help="for two_stage: DIR/<script>/shot_01_01.png and so on")  # fmt: skip
    parser.add_argument("--references", type=Path, metavar="DIR",
        help="for storymem: the pictures in DIR/<script>, in order of name, are the initial "
        "memory, as with 'storymem run --references'")  # fmt: skip
    evaluate.add_model_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, warnings only")
    parser.add_argument("run_options", nargs="*", metavar="-- RUN OPTIONS",
        help="see 'storymem run --help'")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """The whole command; its exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__.split(".")[0]).setLevel(
        logging.WARNING if options.quiet else logging.INFO
    )
    report = options.out / "report"
    try:
        runs = _plan(options)
        evaluate.read_metric_models(options)  # fails now, not after hours; they are not kept
        check_out(report, evaluate.REPORT)
    except ValueError as error:
        logger.error("error: %s", run_options.in_options(error))
        return exit_codes.REFUSED
    made: dict[str, list[Path]] = {}
    failed: dict[str, str] = {}
    for system, choices in runs:
        logger.info("%s: %s", system, choices.out)
        code = command.run(choices)
        if code == exit_codes.INCOMPLETE:  # what an earlier run left there is of other options
            failed[str(choices.out)] = f"{choices.out} could not be made; see the error above"
        elif code != exit_codes.DONE:
            return code
        else:
            made.setdefault(system, []).append(choices.out)
    if not made:
        logger.error("error: no story could be made")
        return exit_codes.INCOMPLETE
    try:
        films, failures = evaluate.open_films(made)
        models = evaluate.read_metric_models(options)
    except ValueError as error:
        logger.error("error: %s", error)
        return exit_codes.REFUSED
    return evaluate.report(films, models, report, failed | failures, quiet=options.quiet)


def _plan(options: argparse.Namespace) -> list[tuple[str, argparse.Namespace]]:
    """What is run for each system and script.

    Raises:
        ValueError: when the scripts or the options do not fit together.
    """
    if parallel.world_size() > 1:
        raise ValueError(
            "compare runs in one process; make the stories with 'storymem run' under torchrun, and "
            "measure them with 'storymem evaluate --compare'"
        )
    if any(word.partition("=")[0] == "--out" for word in options.run_options):
        raise ValueError("--out goes before --: stories go to OUT/<system>/<script>")
    stems = [script.stem for script in options.scripts]
    if len(set(stems)) < len(stems):
        raise ValueError("two scripts have the same file name; rename one")
    missing = [str(script) for script in options.scripts if not script.is_file()]
    if missing:
        raise ValueError(f"there is no script {', '.join(missing)}; check the path")
    if len(set(options.systems)) < len(options.systems):
        raise ValueError("--systems names a system twice; name each once")
    if ("two_stage" in options.systems) != bool(options.start_images):
        raise ValueError("--start-images and the system two_stage go together; give both or none")
    if options.references and "storymem" not in options.systems:
        raise ValueError("--references are for the system storymem, which --systems does not name")
    _check_scripts(options)
    runs = [
        (system, _choices(options, system, script))
        for system in options.systems
        for script in options.scripts
    ]
    for _, choices in runs:
        try:
            command.check(choices)
        except ValueError as error:
            raise ValueError(f"{error} (options of 'storymem run' come after --)") from error
        story = read_script(choices.script)
        LoopSettings(start_shot=choices.start_shot, end_shot=choices.end_shot).range(story)
        parse_ranges(choices.redo, "redo_shots", shots=len(story.shots))
    return runs


def _check_scripts(options: argparse.Namespace) -> None:
    """Raise ValueError for what would stop a later story, when the first ones are made."""
    for script in options.scripts:
        story = read_script(script)
        if options.systems != ["storymem"] and any(shot.references for shot in story.shots):
            raise ValueError(
                f"{script} names reference images, which systems without memory cannot see; take "
                "them out of the script and pass them with --references"
            )
        names = {script.parent / name for shot in story.shots for name in shot.references}
        if gone := sorted(str(path) for path in names if not path.is_file()):
            raise ValueError(f"{script} names reference images that are not there: {gone[0]}")
        if any(shot.start_image for shot in story.shots):
            raise ValueError(
                f"{script} names start images, which only one of the compared systems may use; "
                "take them out of the script and pass them with --start-images"
            )
        if any(shot.end_image for shot in story.shots):
            raise ValueError(
                f"{script} names end images, which the compared systems do not share; take them "
                "out of the script"
            )
        find_sounds(story, script.parent)
        if options.start_images:
            from_folder(_start_images(options, script), story)
        if options.references:
            _references(options, script)


def _start_images(options: argparse.Namespace, script: Path) -> Path:
    below = options.start_images / script.stem
    return below if below.is_dir() else options.start_images


def _references(options: argparse.Namespace, script: Path) -> list[Path]:
    folder = options.references / script.stem
    names = sorted(find_pictures(folder)) if folder.is_dir() else []
    found = [folder / name for name in names]
    if not found:
        raise ValueError(
            f"there is no picture in {folder}; give --references a folder that has a folder of "
            "pictures for each script, named like the script"
        )
    return found


def _choices(options: argparse.Namespace, system: str, script: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storymem run", add_help=False)
    run_options.add_options(parser)
    out = options.out / system / script.stem
    own = ["--out", str(out), "--resume", *(["--quiet"] if options.quiet else [])]
    choices = copy.copy(parser.parse_args([str(script), *options.run_options, *own]))
    if system == "storymem":
        if options.references:
            choices.references = _references(options, script)
        return choices
    # What makes it StoryMem; other LoRAs, the recipe and the seeds stay as they are.
    choices.lora = choices.lora_high = choices.lora_low = choices.bank = None
    choices.memory, choices.references, choices.policy = "off", [], "window"
    if system == "two_stage":
        choices.start_images = _start_images(options, script)
    return choices
