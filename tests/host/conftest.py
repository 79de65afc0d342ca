"""A real ComfyUI for the host suite: in this process (``host``) and as a server (``start_server``).

Both get a base folder of their own in a temporary place, so that the checkout's models, input and
output folders are never touched. The pack and the test nodes are loaded as the host loads them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[2]


def _host_path() -> Path | None:
    path = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    return path if (path / "main.py").is_file() else None


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.host)
            # The host's own warnings are not ours to judge; ours stay errors.
            for rule in ("default", r"error:::.*StoryMem.*", r"error:::storymem.*"):
                item.add_marker(pytest.mark.filterwarnings(rule))


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory) -> Path:
    """The host's base directory: models, input, output, temp, user, custom_nodes."""
    base = tmp_path_factory.mktemp("comfy_base")
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (base / name).mkdir()
    (base / "custom_nodes" / "ComfyUI-StoryMem").symlink_to(PACK)
    (base / "custom_nodes" / "storymem-test-nodes").symlink_to(PACK / "tests" / "host_nodes")
    return base


class Host:
    """The in-process host: run a graph, look at its outputs, reach the loaded pack's modules."""

    def __init__(self, base: Path, pack_module: str, test_module: str):
        self.base = base
        self._pack = pack_module
        self._test = test_module
        self.messages: list[tuple[str, dict]] = []
        self.executor = None
        self.sockets_metadata: dict = {}
        self.restart()

    # What PromptExecutor needs of a server.
    client_id = "test"
    last_node_id = None
    last_prompt_id = None

    def send_sync(self, event, data, sid=None):
        self.messages.append((event, data))

    def restart(self, cache: str = "ram") -> None:
        """A fresh executor, with nothing in its caches. ``cache``: ram, classic, lru or none."""
        import execution

        kind = {
            "ram": execution.CacheType.RAM_PRESSURE,
            "classic": execution.CacheType.CLASSIC,
            "lru": execution.CacheType.LRU,
            "none": execution.CacheType.NONE,
        }[cache]
        self.executor = execution.PromptExecutor(
            self, cache_type=kind, cache_args={"lru": 50, "ram": 2.0, "ram_inactive": 0.0}
        )

    def pack(self, module: str):
        """A module of the loaded pack: ``host.pack("storymem.story")``."""
        return sys.modules[f"{self._pack}.{module}"]

    @property
    def recorded(self) -> dict:
        return sys.modules[self._test].RECORDED

    def run(
        self, prompt: dict, *, extra_data: dict | None = None, prompt_id: str | None = None
    ) -> dict:
        """Execute an API-format prompt; its Record nodes' values by key.

        Raises:
            RuntimeError: with the host's message when validation or a node fails.
        """
        import execution

        prompt_id = prompt_id or uuid.uuid4().hex
        self.messages.clear()
        self.recorded.clear()
        valid, error, outputs, node_errors = asyncio.run(
            execution.validate_prompt(prompt_id, prompt, None)
        )
        if not valid:
            raise RuntimeError(f"{error} {json.dumps(node_errors, default=str)}")
        self.executor.execute(prompt, prompt_id, extra_data or {}, outputs)
        if not self.executor.success:
            failures = [d for e, d in self.executor.status_messages if e == "execution_error"]
            if failures:
                raise RuntimeError(failures[0]["exception_message"].strip())
            raise RuntimeError("interrupted")
        return dict(self.recorded)

    def executed_nodes(self) -> list[str]:
        """Display ids of the nodes that ran in the last prompt, in order."""
        return [d["node"] for e, d in self.messages if e == "executing" and d["node"] is not None]

    def ui(self, node_id: str) -> dict:
        """The UI output of a node in the last prompt."""
        found = [
            d["output"]
            for e, d in self.messages
            if e == "executed" and d["display_node"] == node_id
        ]
        return found[-1] if found else {}


@pytest.fixture(scope="session")
def host(base_folder) -> Host:
    """The host in this process, CPU only, with the pack, the test nodes and the tiny models."""
    path = _host_path()
    sys.argv = ["main.py", "--cpu", "--base-directory", str(base_folder)]
    sys.path.insert(0, str(path))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the host's own warnings are not ours to judge
        import comfy.options

        comfy.options.enable_args_parsing()
        import utils.extra_config  # noqa: F401, I001  must come before the host's nodes
        import nodes

        pack_dir = str(base_folder / "custom_nodes" / "ComfyUI-StoryMem")
        test_dir = str(base_folder / "custom_nodes" / "storymem-test-nodes")
        asyncio.run(nodes.init_builtin_extra_nodes())
        assert asyncio.run(nodes.load_custom_node(pack_dir)), "the pack did not load"
        assert asyncio.run(nodes.load_custom_node(test_dir)), "the test nodes did not load"
        import tiny_models

        tiny_models.write_all(base_folder / "models")
    return Host(base_folder, pack_dir.replace(".", "_x_"), test_dir.replace(".", "_x_"))


class Server:
    """A real ``main.py --cpu`` server in a process of its own."""

    def __init__(
        self, base: Path, *arguments: str, host_path: Path | None = None, env: dict | None = None
    ):
        self.base = base
        self.host_path = host_path or _host_path()
        self.arguments = arguments
        self.env = env or {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log_path = base / f"server-{self.port}.log"
        self.process: subprocess.Popen | None = None

    def start(self, timeout: float = 120) -> Server:
        command = [
            sys.executable,
            "main.py",
            "--cpu",
            "--port",
            str(self.port),
            "--base-directory",
            str(self.base),
            "--database-url",
            "sqlite:///:memory:",
            *self.arguments,
        ]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.host_path, stdout=log, stderr=log, env={**os.environ, **self.env}
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server stopped:\n{self.log()[-3000:]}")
            try:
                self.get("/system_stats")
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"the server did not answer in {timeout} s:\n{self.log()[-3000:]}")

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
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def post(self, path: str, payload: dict):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(payload).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode(errors="replace")) from None
        return json.loads(body) if body else None

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
            time.sleep(0.1)
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


@pytest.fixture
def start_server(host, base_folder, tmp_path):
    """Starts servers with the pack, the test nodes and the tiny models; stops them at the end.

    ``start_server("--cache-classic", output=base)``: each call gets a base folder of its own unless
    one is given (to restart over the same results).
    """
    servers: list[Server] = []

    def start(*arguments: str, output: Path | None = None, env: dict | None = None) -> Server:
        base = output or tmp_path / f"base{len(servers)}"
        if not base.exists():
            base.mkdir(parents=True)
            for name in ("input", "output", "temp", "user"):
                (base / name).mkdir()
            for name in ("models", "custom_nodes"):
                (base / name).symlink_to(base_folder / name)
        server = Server(base, *arguments, env=env)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)
