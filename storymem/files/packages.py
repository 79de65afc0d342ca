"""What to do in a Python that lacks packages, in words: which Python it is, and which has them.

Only the standard library, and nothing that a Python too old for the pack could not read.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
OLDEST = (3, 10)
REQUIREMENTS = PACK / "requirements-headless.txt"
OWN_FOLDER = PACK / ".venv"  # where try_it.py installs
NAMES = {  # of packages whose module is called otherwise
    "PIL": "Pillow", "cv2": "opencv-python-headless", "open_clip": "open_clip_torch",
}  # fmt: skip
# What the host has, and all that the commands on finished stories need.
IN_COMFYUI = ("torch", "numpy", "PIL", "av", "einops", "safetensors", "tqdm")
FOR_SHOTS = ("diffusers", "transformers")  # of commands that make or train something


def python_too_old(version: tuple[int, ...] = tuple(sys.version_info[:2])) -> str:
    """What to say of a Python that is too old for the pack; empty when it is not."""
    if tuple(version) >= OLDEST:
        return ""
    found, oldest = (".".join(map(str, part)) for part in (version, OLDEST))
    return (
        f"StoryMem needs Python {oldest} or newer, but this is {found}: {sys.executable}\n"
        "Use a newer one, such as that of ComfyUI."
    )


def missing(modules: tuple[str, ...]) -> list[str]:
    """Those of some modules that this Python does not have, without importing any."""
    from importlib.util import find_spec

    return [module for module in modules if module not in sys.modules and find_spec(module) is None]


def explain_missing(modules: list[str], arguments: list[str] | None = None) -> str:
    """That this Python lacks modules, and a command that helps, to be copied.

    Args:
        arguments: of ``python -m storymem``, when that is what runs.
    """
    names = ", ".join(NAMES.get(module, module) for module in modules)
    lines = [f"this Python lacks {names}: {sys.executable}"]
    own = own_python()
    if own and not is_here(own) and _has(own, modules):
        if arguments is None:
            return "\n".join([*lines, f"This one has everything: {quoted([str(own)])}"])
        command = quoted([str(own), "-m", "storymem", *arguments])
        return "\n".join([*lines, "This one, of try_it.py, has everything:", f"  {command}"])
    if "--tiny" in (arguments or ()):
        lines.append("To make the demo in a Python of its own, with everything in it:")
        lines.append(f"  {quoted([sys.executable, str(PACK / 'storymem' / 'try_it.py')])}")
        lines.append("Or install what is needed:")
    elif not set(modules) - set(IN_COMFYUI):
        lines.append("The Python that ComfyUI runs in has everything that this needs. Or install:")
    else:
        lines.append("Install what is needed:")
    return "\n".join([*lines, *(f"  {command}" for command in install_commands())])


def install_commands() -> list[str]:
    """Commands that install what the commands need, into this Python or one of its own."""
    wanted = ["-m", "pip", "install", "torch", "-r", str(REQUIREMENTS)]
    if not _is_managed():
        return [quoted([sys.executable, *wanted])]
    own = OWN_FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return [
        quoted([sys.executable, "-m", "venv", str(OWN_FOLDER)]),
        quoted([str(own), *wanted]),
    ]


def pip_install(package: str) -> str:
    """The command that installs a package into this Python."""
    return quoted([sys.executable, "-m", "pip", "install", package])


def needs(module: str, package: str, what: str) -> None:
    """Make sure that a module is there which only ``what`` needs.

    Raises:
        ValueError: with the command that installs it.
    """
    if missing((module,)):
        raise ValueError(
            f"{what} needs the package {package}, which this Python lacks; install it with: "
            f"{pip_install(package)}"
        )


def own_python() -> Path | None:
    """The Python that try_it.py set up in the pack's folder; None when there is none."""
    found = OWN_FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return found if found.is_file() else None


def is_here(python: Path) -> bool:
    """Whether that Python runs this: links do not tell, for all of its kind lead to one."""
    return python.absolute() == Path(sys.executable).absolute()


def quoted(command: list[str]) -> str:
    """A command as a shell reads it."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def _has(python: Path, modules: list[str]) -> bool:
    root = python.parent.parent
    homes = [*root.glob("lib/python3*/site-packages"), root / "Lib" / "site-packages"]
    return all(
        any((home / module).exists() or (home / f"{module}.py").is_file() for home in homes)
        for module in modules
    )


def _is_managed() -> bool:
    """Whether the system keeps pip out of this Python, outside of a virtual environment."""
    if sys.prefix != sys.base_prefix:
        return False
    return Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file()
