"""Processes that run tests for ``tests/tools/mutants.py``: forked with heavy libraries loaded."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import coverage
import hypothesis
import pytest

from helpers.host_server import host_arguments

HEAVY = ("torch", "numpy", "PIL.Image", "av", "einops", "safetensors.torch")


class Probe:
    """The pytest plugin of a child: picks tests, and writes down how they went."""

    def __init__(self, wanted: dict[str, float] | None, trace: bool, root: Path):
        self.wanted = wanted
        self.root = root
        self.seconds: dict[str, float] = {}
        self.bad: set[str] = set()
        self.coverage = None
        if trace:
            watched = [str(root / folder / "*") for folder in ("storymem", "nodes")]
            self.coverage = coverage.Coverage(data_file=None, config_file=False, include=watched)
            self.coverage.start()

    def pytest_collection_modifyitems(self, config, items):
        if self.wanted is not None:
            items[:] = [item for item in items if item.nodeid in self.wanted]
            items.sort(key=lambda item: self.wanted[item.nodeid])

    def pytest_runtest_logstart(self, nodeid, location):
        if self.coverage:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed or (report.skipped and report.when != "teardown"):
            self.bad.add(report.nodeid)

    def result(self) -> dict:
        good = {test: s for test, s in self.seconds.items() if test not in self.bad}
        lines: dict[str, dict[str, list[int]]] = {}
        if self.coverage:
            self.coverage.stop()
            data = self.coverage.get_data()
            for file in data.measured_files():
                by_test = lines.setdefault(str(Path(file).relative_to(self.root)), {})
                for line, tests in data.contexts_by_lineno(file).items():
                    for test in tests:
                        by_test.setdefault(test, []).append(line)
        return {"seconds": good, "lines": lines}


class Children:
    """Forks processes that run tests in the project's copy."""

    def __init__(self, copy: Path, scratch: Path, marks: str, host: Path | None = None):
        """``host``: a ComfyUI that every child finds loaded."""
        self.copy = copy
        self.scratch = scratch
        self.marks = marks
        text = "\n".join(file.read_text(encoding="utf-8") for file in copy.rglob("*.py"))
        for name in HEAVY:
            if f"import {name}" in text or f"from {name}" in text:
                importlib.import_module(name)
        hypothesis.settings.register_profile(
            "mutants",
            database=None,
            derandomize=True,
            deadline=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        for plugin in metadata.entry_points(group="pytest11"):
            plugin.load()
        for name in pytest.main.__globals__["default_plugins"]:
            importlib.import_module(f"_pytest.{name}")
        if host is not None:
            _load_host(host, scratch / "host")
        gc.freeze()

    def run(
        self,
        files: Iterable[str],
        *,
        wanted: dict[str, float] | None = None,
        trace: bool = False,
        limit_s: float = 900.0,
    ) -> tuple[int | None, dict]:
        """pytest's exit code (None when it had to be stopped) and the probe's result."""
        answer = self.scratch / "answer.json"
        answer.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = self._child(list(files), wanted, trace, answer)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        code = _wait(pid, limit_s)
        for name in ("tmp", "host"):
            shutil.rmtree(self.scratch / name, ignore_errors=True)
        return code, json.loads(answer.read_text()) if answer.exists() else {}

    def _child(self, files: list[str], wanted, trace: bool, answer: Path) -> int:
        os.setsid()
        sys.dont_write_bytecode = False  # a mutant's has a time of its own, and passes for no other
        os.chdir(self.copy)
        for name in [name for name in sys.modules if name.split(".")[0] == "helpers"]:
            del sys.modules[name]  # the copy has its own
        quiet = os.open(self.scratch / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        probe = Probe(wanted, trace, self.copy)
        stop_early = [] if trace else ["-x"]
        code = pytest.main(
            [
                *("-q", "-p", "no:cacheprovider", "-m", self.marks, *stop_early),
                *("-W", "ignore:Module already imported"),  # the heavy ones are, before the fork
                *("--hypothesis-profile=mutants", f"--basetemp={self.scratch / 'tmp'}"),
                *(str(self.copy / file) for file in files),
            ],
            plugins=[probe],
        )
        answer.write_text(json.dumps(probe.result()))
        return int(code)


def _load_host(host: Path, base: Path) -> None:
    """Import a ComfyUI for good; ``base`` is its base folder, which tests make (conftest.py)."""
    os.environ["STORYMEM_TEST_BASE"] = str(base)
    sys.argv = ["main.py", *host_arguments(), "--base-directory", str(base)]
    sys.path.insert(0, str(host))
    import comfy.options

    comfy.options.enable_args_parsing()
    import utils.extra_config  # noqa: F401, I001  must come before the host's nodes
    import nodes

    asyncio.run(nodes.init_builtin_extra_nodes())
    shutil.rmtree(base)  # each child's tests begin with none


def _wait(pid: int, limit_s: float) -> int | None:
    """The exit code of the child, None when it was stopped; whatever it started ends with it."""
    end = time.monotonic() + limit_s
    code = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if code is None:
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return code
