"""The shipped graphs, one module each: ``python tests/make_workflows.py`` writes their files.

Every module here is found by itself; nothing is listed in a common place. A module has
``GRAPHS = {"name": build, ...}``, where ``build(info)`` takes the host's ``/object_info`` and
returns a workflow file's content (``Builder.file()``). The name is the file's path under
``workflows/`` without ``.json``: ``"storymem_story"``, or ``"baselines/wan"`` for a file in a
subfolder. What graphs share lies in ``parts.py``.
"""

from __future__ import annotations

import importlib
import pkgutil


def all_graphs() -> dict:
    """Name to ``build(info)`` of every graph, from every module of this folder."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(importlib.import_module(f"{__name__}.{module.name}"), "GRAPHS", {})
    return found
