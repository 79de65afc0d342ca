"""A real ComfyUI server in a process of its own, driven over HTTP."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from helpers import warm_start

PACK = Path(__file__).resolve().parents[2]
ANSWER_TIME = 120  # seconds; a host that samples on a busy machine answers late


def host_path() -> Path | None:
    """The ComfyUI checkout to test with: COMFYUI_PATH, else ~/ComfyUI."""
    path = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    return path if (path / "main.py").is_file() else None


def host_arguments() -> list[str]:
    """How the tests start the host: STORYMEM_HOST_ARGS, else ``--cpu``.

    ``STORYMEM_HOST_ARGS=--force-fp32`` runs them on a graphics card.
    """
    return shlex.split(os.environ.get("STORYMEM_HOST_ARGS", "--cpu"))


def front_end_arguments() -> list[str]:
    """What lets the tests' servers show another front end: STORYMEM_FRONT_END, a folder with it.

    Either the folder of its ``index.html`` or an unpacked wheel of ``comfyui-frontend-package``.

    Raises:
        ValueError: when there is none in it.
    """
    named = os.environ.get("STORYMEM_FRONT_END")
    if not named:
        return []
    for root in (Path(named), Path(named) / "comfyui_frontend_package" / "static"):
        if (root / "index.html").is_file():
            return ["--front-end-root", str(root)]
    raise ValueError(f"STORYMEM_FRONT_END holds no front end (index.html): {named}")


def find_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_base(folder: Path) -> Path:
    """Make the folders below which a host keeps everything; with the pack and the test nodes."""
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (folder / name).mkdir(parents=True)
    (folder / "custom_nodes" / "ComfyUI-StoryMem").symlink_to(PACK)
    (folder / "custom_nodes" / "storymem-test-nodes").symlink_to(
        PACK / "tests" / "helpers" / "host_nodes"
    )
    return folder


class Server:
    """A real ``main.py`` server in a process of its own."""

    def __init__(
        self,
        base: Path,
        *arguments: str,
        checkout: Path | None = None,
        env: dict | None = None,
        forked: bool = True,
    ):
        """``forked``: begin it by ``warm_start`` where that is the same, only faster."""
        self.base = base
        self.checkout = checkout or host_path()
        self.arguments = arguments
        self.env = env or {}
        self.forked = forked
        self.port = find_port()
        self.log_path = base / f"server-{self.port}.log"
        self.process: subprocess.Popen | warm_start.WarmProcess | None = None

    def start(self, timeout: float = 240) -> Server:
        self.log_path.touch()
        begin = len(self.log())  # a restart goes on in its log
        arguments = [
            *host_arguments(),
            "--port",
            str(self.port),
            "--base-directory",
            str(self.base),
            "--database-url",
            "sqlite:///:memory:",
            *front_end_arguments(),
            *self.arguments,
        ]
        self.process = self._launch(arguments)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            said = self.log()[begin:]
            if self.process.poll() is not None:
                if not begin and "address already in use" in said:  # taken since it was found free
                    self.port = find_port()
                    return self.start(timeout)
                raise RuntimeError(f"the server stopped:\n{said[-3000:]}")
            if "To see the GUI go to" in said:  # its own words: nobody else answers at its port
                with suppress(OSError):
                    self.get("/system_stats")
                    return self
            time.sleep(0.05)
        raise RuntimeError(f"the server did not answer in {timeout} s:\n{self.log()[-3000:]}")

    def _launch(self, arguments: list[str]) -> subprocess.Popen | warm_start.WarmProcess:
        env = {**os.environ, **self.env}
        env.pop(warm_start.ALLOCATOR, None)
        if self.forked and warm_start.can_fork(arguments, self.env):
            return warm_start.start(arguments, self.checkout, self.log_path, env)
        command = [sys.executable, "main.py", *arguments]
        with open(self.log_path, "ab") as log:
            return subprocess.Popen(command, cwd=self.checkout, stdout=log, stderr=log, env=env)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """``kill -9``, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def get(self, path: str):
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=ANSWER_TIME) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def post(self, path: str, payload: dict):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(payload).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIME) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode(errors="replace")) from None
        return json.loads(body) if body else None

    def wait_until(self, look_up, timeout: float = 300) -> None:
        """Wait until ``look_up`` gives something true, while the server lives."""
        deadline = time.monotonic() + timeout
        while not look_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"not seen in {timeout} s:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def queue(self, prompt: dict, **extra) -> str:
        return self.post("/prompt", {"prompt": prompt, **extra})["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 300) -> dict:
        """The prompt's history entry once it ended (success or not)."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server died:\n{self.log()[-3000:]}")
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.05)
        raise RuntimeError(f"prompt not finished in {timeout} s:\n{self.log()[-3000:]}")

    def run(self, prompt: dict, timeout: float = 300, **extra) -> dict:
        """Queue and wait; the history entry of a prompt that succeeded.

        Raises:
            RuntimeError: with the host's message when it failed.
        """
        entry = self.wait(self.queue(prompt, **extra), timeout)
        if entry["status"]["status_str"] != "success":
            errors = [m[1] for m in entry["status"]["messages"] if m[0] == "execution_error"]
            raise RuntimeError(errors[0]["exception_message"] if errors else str(entry["status"]))
        return entry
