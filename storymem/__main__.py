"""``python -m storymem run | train``: the method on diffusers, without ComfyUI."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code (see ``python -m storymem run --help``)."""
    from .headless import command

    parser = argparse.ArgumentParser(prog="storymem", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command.add_options(
        commands.add_parser("run", help="make a story", description="Makes a story from a script.")
    )
    options = parser.parse_args(arguments)
    return command.run(options)


if __name__ == "__main__":
    sys.exit(main())
