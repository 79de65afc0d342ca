"""Whether this commit is to be published to the Comfy Registry: says why, and answers the workflow.

Reads pyproject.toml, CHANGELOG.md and the pyproject.toml of the commit before (as a file, named by
the first argument; none when there is no such commit). GitHub gives the repository's name and the
event; ``publish=yes`` goes to GITHUB_OUTPUT. Exit code 1: something is to be mended first.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import tomllib

PLACEHOLDER = "TO_FILL_IN"


def decide(now: dict, before: dict, changelog: str, repository: str, *, asked: bool) -> str:
    """Empty when ``now`` is to be published, else why nothing is to be done.

    Raises:
        ValueError: what is to be mended before anything can be published.
    """
    project, comfy = now["project"], now["tool"]["comfy"]
    values = {f"project.urls.{key}": value for key, value in project["urls"].items()}
    values |= {f"tool.comfy.{key}": value for key, value in comfy.items()}
    if missing := [key for key, value in values.items() if PLACEHOLDER in str(value)]:
        raise ValueError(f"pyproject.toml is not filled in yet: {', '.join(missing)}")
    home = project["urls"]["Repository"].removeprefix("https://github.com/")
    if home.lower() != repository.lower():
        return f"pyproject.toml names {home}, this is {repository}: a fork publishes nothing"
    version = project["version"]
    if not re.search(rf"^## {re.escape(version)}$", changelog, re.MULTILINE):
        raise ValueError(f"CHANGELOG.md says nothing of {version}")
    if not asked and before.get("project", {}).get("version") == version:
        return f"{version} is not a new version"
    return ""


def main() -> int:
    before = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        why_not = decide(
            tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8")),
            tomllib.loads(before.read_text(encoding="utf-8")) if before else {},
            Path("CHANGELOG.md").read_text(encoding="utf-8"),
            os.environ["GITHUB_REPOSITORY"],
            asked=os.environ["GITHUB_EVENT_NAME"] == "workflow_dispatch",
        )
    except ValueError as error:
        sys.stdout.write(f"::error::{error}\n")
        return 1
    sys.stdout.write(f"::notice::{why_not or 'This version is published.'}\n")
    if not why_not:
        with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as out:
            out.write("publish=yes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
