"""``python -m storymem run | train | evaluate | compare | sheet | films``, without ComfyUI."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code (see ``python -m storymem run --help``)."""
    from .cli import compare, evaluate, films, run, sheet, train

    parser = argparse.ArgumentParser(prog="storymem", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module, words in (
        ("run", run, "Makes a story from a script."),
        ("train", train, "Trains an expert to remember, on groups of clips."),
        ("evaluate", evaluate, "Measures finished stories: the paper's numbers."),
        ("compare", compare, "Makes the same scripts with several systems and compares them."),
        ("sheet", sheet, "Draws a finished story, its shots and memory, as one picture."),
        ("films", films, "Lists a story's films, restores one, removes old ones."),
    ):
        module.add_options(commands.add_parser(name, help=words, description=words))
        commands.choices[name].set_defaults(module=module)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = "; options of 'storymem run' come after --" if options.command == "compare" else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options.module.run(options)


if __name__ == "__main__":
    sys.exit(main())
