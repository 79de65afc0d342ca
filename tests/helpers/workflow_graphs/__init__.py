"""The shipped graphs, one module each: ``python tests/tools/make_workflows.py`` writes their files.

Every module here is found by itself; nothing is listed in a common place. A module has
``GRAPHS = {"name": build, ...}``, where ``build(info)`` takes the host's ``/object_info`` and
returns a workflow file's content (``Builder.file()``). The name is the file's path under
``workflows/`` without ``.json``: ``"storymem_story"``, or ``"baselines/wan"`` for a file in a
subfolder. ``BLUEPRINTS`` is the same for ``subgraphs/`` (``Blueprint.file()``). What graphs share
lies in ``parts.py`` and ``film.py``.
"""

from __future__ import annotations

import importlib
import pkgutil


def all_files() -> dict:
    """Path of every file from the pack's folder, and its ``build(info)``."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for folder, builds in (("workflows", "GRAPHS"), ("subgraphs", "BLUEPRINTS")):
            for name, build in getattr(module, builds, {}).items():
                found[f"{folder}/{name}.json"] = build
    return found
