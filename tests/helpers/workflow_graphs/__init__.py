"""The shipped graphs, one module each: ``python tests/tools/make_workflows.py`` writes their files.

Every module here is found by itself; nothing is listed in a common place. A module has
``GRAPHS = {"name": build, ...}``, where ``build(info)`` takes the host's ``/object_info`` and
returns a workflow file's content (``Builder.file()``). The name is the file's path under
``workflows/`` without ``.json``: ``"storymem_story"``, or ``"baselines/wan"`` for a file in a
subfolder. ``BLUEPRINTS`` is the same for ``subgraphs/`` (``Blueprint.file()``). ``NEEDS`` names a
node that not every host has, for the files that need it. What graphs share lies in ``parts.py`` and
``film.py``.
"""

from __future__ import annotations

import importlib
import pkgutil


def _modules() -> list:
    return [importlib.import_module(f"{__name__}.{i.name}") for i in pkgutil.iter_modules(__path__)]


def needs() -> dict[str, str]:
    """The node that a file needs and not every host has, by the file's name without ``.json``."""
    return {name: node for m in _modules() for name, node in getattr(m, "NEEDS", {}).items()}


def all_files() -> dict:
    """Path of every file from the pack's folder, and its ``build(info)``."""
    found = {}
    for module in _modules():
        for folder, builds in (("workflows", "GRAPHS"), ("subgraphs", "BLUEPRINTS")):
            for name, build in getattr(module, builds, {}).items():
                found[f"{folder}/{name}.json"] = build
    return found
