"""Starts hosts by fork from a process that has imported the large libraries once.

A start of ComfyUI is ten seconds of processor time, most of it the import of torch and of what
stands on it. The test run starts some forty hosts; forked, each imports only what is the host's
own and the pack's. ``Server`` begins as before where a fork would not be the same: on a graphics
card, without ``fork``, and with settings that Python reads as it starts.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

try:
    import psutil
except ImportError:  # it comes with the host; without one none is started
    psutil = None

# Third parties only: nothing here reads the host's arguments, nothing starts a thread.
LIBRARIES = (
    "torch", "torch._dynamo", "torchvision", "torchaudio", "torchsde", "transformers", "kornia",
    "comfy_kitchen", "scipy.integrate", "scipy.stats", "scipy.ndimage", "sympy", "sqlalchemy",
    "alembic", "aiohttp.web", "pydantic", "av", "spandrel", "einops", "safetensors.torch",
    "alembic.command", "sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "pydantic_settings",
    "scipy.signal", "cv2", "requests", "simpleeval", "tokenizers",
    "transformers.models.bert.tokenization_bert", "transformers.models.byt5.tokenization_byt5",
    "transformers.models.clip.tokenization_clip", "transformers.models.qwen2.tokenization_qwen2",
    "transformers.models.t5.tokenization_t5",
)  # fmt: skip
ALLOCATOR = "GLIBC_TUNABLES"  # .ci/run sets it for speed; a host's memory is watched as it is


class WarmProcess:
    """A forked host, with the part of ``subprocess.Popen`` that the tests use."""

    def __init__(self, pid: int):
        self.pid = pid
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """None while it lives, else 1: nobody here asks how it ended."""
        return None if self._process is not None and self._process.is_running() else 1

    def wait(self, timeout: float | None = None) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except psutil.TimeoutExpired:
            raise subprocess.TimeoutExpired("main.py", timeout) from None

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.send_signal(number)


_source: subprocess.Popen | None = None


def can_fork(arguments: list[str], env: dict) -> bool:
    """Whether a forked host is the same as one that is started with these arguments and, beside
    this process's own, these variables."""
    return hasattr(os, "fork") and "--cpu" in arguments and not any("PYTHON" in n for n in env)


def start(arguments: list[str], folder: Path, log: Path, env: dict) -> WarmProcess:
    """Fork a host that runs ``main.py`` of ``folder`` and writes into ``log``.

    Args:
        env: its whole environment.

    The process that it is forked from begins with the first and ends with this one.
    """
    global _source
    if _source is None or _source.poll() is not None:
        _source = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != ALLOCATOR},
        )
    order = {"arguments": arguments, "folder": str(folder), "log": str(log), "env": env}
    _source.stdin.write(f"{json.dumps(order)}\n")
    _source.stdin.flush()
    return WarmProcess(int(_source.stdout.readline()))


def _main() -> None:
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # the host of another version may have it not
            __import__(name)
    gc.collect()
    gc.freeze()  # no host searches the libraries for garbage, nor copies them by that
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become_host(json.loads(line))
            return
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _become_host(order: dict) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for here, there in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(here, there)
    os.environ.clear()
    os.environ.update(order["env"])
    if threads := order["env"].get("OMP_NUM_THREADS"):  # read as torch is imported
        import torch

        torch.set_num_threads(int(threads))
    os.chdir(order["folder"])
    main = Path(order["folder"], "main.py")
    sys.path[0] = str(main.parent)
    sys.argv = [str(main), *order["arguments"]]
    runpy.run_path(str(main), run_name="__main__")


if __name__ == "__main__":
    _main()
