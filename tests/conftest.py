"""Loads the library and the helpers, and finds the host for the tests that need one.

Both are loaded by file location, as ``storymem`` and ``helpers``: with the project's root on
``sys.path`` its ``nodes`` would shadow the host's module of that name.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

PACK = Path(__file__).resolve().parent.parent
if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the processor, and servers inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long one example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def load_package(name: str, folder: Path) -> None:
    """Make the package in ``folder`` importable as ``name`` without touching ``sys.path``."""
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


load_package("storymem", PACK / "storymem")
load_package("helpers", PACK / "tests" / "helpers")


from helpers.host_server import host_path  # noqa: E402  the package is loaded above
from helpers.shared_data import HINT, MISSING  # noqa: E402

HOST = host_path()


# With the longest files first two processes end at about the same time.
LONGEST = ("shot_loop_http", "page_tiny", "baselines", "fuzz", "tiny_compare", "page_served")


def pytest_report_header(config):
    host = HOST or "NOT FOUND - the host suite is skipped (set COMFYUI_PATH)"
    missing = f"{' and '.join(MISSING)} NOT FOUND" if MISSING else "there"
    return [f"ComfyUI: {host}", f"shared test data: {missing}"]


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)
    if HOST is not None:
        return
    skip = pytest.mark.skip(reason="no ComfyUI found: set COMFYUI_PATH or put one at ~/ComfyUI")
    for item in items:
        if "host" in item.keywords:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter):
    if HOST is None:
        terminalreporter.section("THE HOST SUITE DID NOT RUN", sep="!")
        terminalreporter.line(
            "No ComfyUI at COMFYUI_PATH or ~/ComfyUI: nodes, graphs and workflows are untested."
        )
    if MISSING:
        terminalreporter.section("REAL SCRIPTS WERE NOT READ", sep="!")
        terminalreporter.line(f"Not here: {' and '.join(MISSING)}; {HINT}.")


@pytest.fixture(autouse=True)
def _level_of_the_log():
    """Commands set how much the pack tells, for their whole process: each test finds it unset."""
    logger = logging.getLogger("storymem")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="module", autouse=True)
def set_aside_what_stands():
    """Keep the garbage collector to what a file's tests make.

    The host collects whenever it loads a model, and each time would search all of torch, of the
    host and of this test run.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def golden():
    """Reads a golden case file of ``tests/golden`` by name."""

    def read(name: str):
        return json.loads((PACK / "tests" / "golden" / name).read_text(encoding="utf-8"))

    return read


@pytest.fixture(scope="session")
def i2v(tmp_path_factory) -> Path:
    """A folder of tiny random weights in the layout of Wan2.2-I2V; nobody writes into it."""
    from helpers import tiny_diffusers

    return tiny_diffusers.write_i2v(tmp_path_factory.mktemp("i2v"))
