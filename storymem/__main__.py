"""``python -m storymem run | train | evaluate | compare | sheet | board | films | export | takes |
doctor``: all that works without ComfyUI."""

from __future__ import annotations

import argparse
import importlib
import sys

from .files.packages import (
    FOR_SHOTS,
    IN_COMFYUI,
    explain_missing,
    missing,
    python_too_old,
)

BROKEN, REFUSED = 1, 2  # as storymem/cli/exit_codes.py has them
COMMANDS = {  # in a module of storymem/cli each
    "run": "Makes a story from a script.",
    "train": "Trains an expert to remember, on groups of clips.",
    "evaluate": "Measures finished stories: the paper's numbers.",
    "compare": "Makes the same scripts with several systems and compares them.",
    "sheet": "Draws a finished story, its shots and memory, as one picture.",
    "board": "Draws every shot with its prompt, as a picture and to print.",
    "films": "Lists a story's films, restores one, removes old ones.",
    "export": "Writes a finished story's timeline for editing programs.",
    "takes": "Lists the takes of a story's shots, removes those that no film uses.",
    "doctor": "Checks the setup: machine, model files, and what a workflow needs.",
}
NEEDED = dict.fromkeys(("run", "train", "compare"), (*IN_COMFYUI, *FOR_SHOTS))
NEEDED["doctor"] = ()  # it tells what lacks


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code (see ``python -m storymem run --help``)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if words := python_too_old():
        return _refuse(words)
    # Only the chosen command is imported: this one runs in any Python, and says what it lacks.
    chosen = next((word for word in arguments if word in COMMANDS), None)
    if chosen and (lacking := missing(NEEDED.get(chosen, IN_COMFYUI))):
        return _refuse(explain_missing(lacking, arguments))
    parser = argparse.ArgumentParser(prog="storymem", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words)
        if name == chosen:
            module = importlib.import_module(f".cli.{name}", __package__)
            module.add_options(command)
            command.set_defaults(module=module)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = "; options of 'storymem run' come after --" if options.command == "compare" else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    try:
        return options.module.run(options)
    except ModuleNotFoundError as error:  # needed by few, such as OpenCV by the seams' measure
        if not error.name or not missing((error.name.partition(".")[0],)):
            raise
        return _refuse(explain_missing([error.name.partition(".")[0]], arguments), BROKEN)


def _refuse(words: str, code: int = REFUSED) -> int:
    sys.stderr.write(f"error: {words}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
