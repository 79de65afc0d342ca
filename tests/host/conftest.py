"""A real ComfyUI for the host suite: in this process (``host``) and as a server (``start_server``).

Both get a base folder of their own in a temporary place, so that the checkout's models, input and
output folders are never touched. The pack and the test nodes are loaded as the host loads them.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import shutil
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.browser import find_chromium
from helpers.host_server import Server, host_arguments, host_path, make_base
from helpers.loop_graphs import release
from helpers.server_base import link_base
from helpers.story_page import open_story_page, story_server

PACK = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.host)
            if "server" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.http)
            # The host's own warnings are not ours to judge; ours stay errors.
            for rule in ("default", r"error:::.*StoryMem.*", r"error:::storymem.*"):
                item.add_marker(pytest.mark.filterwarnings(rule))


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory) -> Path:
    """The host's base directory: models, input, output, temp, user, custom_nodes.

    A host that is loaded already, as ``tests/tools/mutants.py`` does, has STORYMEM_TEST_BASE.
    """
    loaded = os.environ.get("STORYMEM_TEST_BASE")
    return make_base(Path(loaded) if loaded else tmp_path_factory.mktemp("comfy_base") / "base")


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
            self, cache_type=kind, cache_args={"lru": 50, "ram": 0.1, "ram_inactive": 0.0}
        )

    def pack(self, module: str):
        """A module of the loaded pack: ``host.pack("storymem.script.reader")``."""
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

        prompt = copy.deepcopy(prompt)  # the host leaves marks in it, as over HTTP in its own copy
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
    """The host in this process, with the pack, the test nodes and the tiny models."""
    path = host_path()
    sys.argv = ["main.py", *host_arguments(), "--base-directory", str(base_folder)]
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
        from helpers import tiny_models

        tiny_models.write_all(base_folder / "models")
    gc.freeze()
    return Host(base_folder, pack_dir.replace(".", "_x_"), test_dir.replace(".", "_x_"))


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
            link_base(base, base_folder)
        server = Server(base, *arguments, env=env)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def clips(host):
    """Named values that StoryMemTestClip nodes give: IMAGE batches, a shot, an embedder."""
    store = sys.modules[host._test].CLIPS
    store.clear()
    return store


@pytest.fixture
def log(tmp_path) -> Path:
    """Where the test nodes write down what they did."""
    return tmp_path / "log"


@pytest.fixture
def fresh(host) -> None:
    """An empty output folder and empty caches."""
    shutil.rmtree(host.base / "output", ignore_errors=True)
    (host.base / "output").mkdir()
    host.restart()


# --- a story in the host's page; other modules have a server and a page of their own ----------


@pytest.fixture(scope="module")
def server(base_folder, host, tmp_path_factory):
    with story_server(tmp_path_factory.mktemp("story_server"), base_folder) as running:
        yield running


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory):
    if find_chromium() is None:
        pytest.skip("no Chromium: the page is not looked at")
    with open_story_page(server, tmp_path_factory.mktemp("log") / "log", user="Mira") as page:
        yield page


@pytest.fixture
def page(shared):
    """The shared page with no dialog open."""
    yield shared
    release(shared.log)  # what a failed test still holds back
    shared.close_all()
    assert shared.errors == []


@pytest.fixture
def unplanned(page):
    """Nobody says what the next run will make: for films that have nothing in the store."""
    page.page.route("**/storymem/plan", lambda route: route.abort())
    yield
    page.page.unroute("**/storymem/plan")


@pytest.fixture(scope="session")
def placing(host):
    """A context that puts files into model folders; all are gone after it."""
    import folder_paths

    @contextmanager
    def placed():
        written: list[Path] = []

        def put(folder: str, name: str, write) -> Path:
            target = host.base / "models" / folder
            target.mkdir(exist_ok=True)
            write(target / name)
            written.append(target / name)
            folder_paths.filename_list_cache.clear()
            return target / name

        yield put
        for path in written:
            path.unlink(missing_ok=True)
        folder_paths.filename_list_cache.clear()
        host.restart()

    return placed
