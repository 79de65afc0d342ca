"""Check my setup over HTTP, and what it asks the host: beside what the host says of itself."""

from __future__ import annotations

import argparse
import asyncio
import enum
import json
import time
from pathlib import Path

import pytest

from helpers.gallery_page import ask
from helpers.server_base import link_base, serving

pytestmark = pytest.mark.http
JSON = {"Content-Type": "application/json"}
PROMPT = "a lighthouse keeper whom nobody may read of"
BROKEN = {
    "raises": "raise RuntimeError('it is broken')",
    "empty": "from comfy_api.latest import ComfyExtension\n"
    "class Empty(ComfyExtension):\n"
    "    async def get_node_list(self):\n"
    "        raise RuntimeError('no nodes')\n"
    "async def comfy_entrypoint():\n"
    "    return Empty()\n",
    "works": "NODE_CLASS_MAPPINGS = {'WorkingNode': type('WorkingNode', (), "
    "{'INPUT_TYPES': classmethod(lambda cls: {}), 'RETURN_TYPES': (), 'FUNCTION': 'run'})}\n",
    "off.disabled": "raise RuntimeError('nobody loads it')",
}


@pytest.fixture(scope="module")
def base(base_folder, tmp_path_factory) -> Path:
    """A base folder with packs of others, and a model file with a telling name."""
    base = link_base(tmp_path_factory.mktemp("setup") / "base", base_folder)
    for name in ("models", "custom_nodes"):
        (base / name).unlink()
        (base / name).mkdir()
    for pack in (base_folder / "custom_nodes").iterdir():
        (base / "custom_nodes" / pack.name).symlink_to(pack.resolve())
    for name, code in BROKEN.items():
        (base / "custom_nodes" / name).mkdir()
        (base / "custom_nodes" / name / "__init__.py").write_text(code)
    (base / "custom_nodes" / "single.py").write_text(BROKEN["works"].replace("Working", "Single"))
    (base / "custom_nodes" / "broken_single.py").write_text(BROKEN["raises"])
    loras = base / "models" / "loras"
    loras.mkdir()
    (loras / "my_secret_film.safetensors").write_bytes(b"<!DOCTYPE html><html>not found</html>")
    return base


@pytest.fixture(scope="module")
def server(base):
    with serving(base, "--disable-api-nodes", "--preview-size", "400", forked=False) as running:
        yield running


def check(server, **asked) -> dict:
    body = json.dumps(asked).encode()
    status, _, answer = ask(server, "/storymem/setup", method="POST", headers=JSON, body=body)
    assert status == 200, answer
    return json.loads(answer)


def private(report: dict) -> list[str]:
    findings = [one for section in report["sections"] for one in section["findings"]]
    return [value for one in findings for value in one["private"].values()]


def test_the_report_names_files_for_the_page_and_not_in_the_text_to_paste(server, base):
    story = {"1": {"class_type": "StoryMemLoadStory", "inputs": {"script": PROMPT}}}
    found = check(server, prompt=story, front_end="1.41.21")
    assert found["error"] == ""
    names = private(found)
    assert any("my_secret_film.safetensors" in name for name in names)
    text = found["text"]
    for hidden in ("my_secret_film", str(base), str(Path.home()), PROMPT, "lighthouse"):
        assert hidden not in text
    assert "ComfyUI" in text
    assert "1.41.21" in text
    assert "--preview-size 400" in text
    assert "--base-directory" in text  # and not which


def test_the_hosts_version_is_the_one_that_it_tells_itself(server):
    told = server.get("/system_stats")["system"]["comfyui_version"]
    assert f"ComfyUI {told}" in check(server)["text"]


def test_a_pages_version_that_is_none_is_not_told(server):
    for version in ("Mara's own page", "mara.smith", "1.2-mara", "1.2.Mara3"):
        assert "mara" not in check(server, front_end=version)["text"].lower()
    for version in ("1.41.21", "v1.2.3-rc.1", "1.51.0-nightly20260101", "1.5.0b2"):
        assert f"front end {version}" in check(server, front_end=version)["text"]


@pytest.mark.parametrize(
    "body", [b"[]", b"no json", b'{"workflow": 3}', b'{"prompt": []}', b'{"front_end": 1}']
)
def test_what_no_page_sends_is_refused(server, body):
    status, *_ = ask(server, "/storymem/setup", method="POST", headers=JSON, body=body)
    assert status == 400


def test_other_pages_may_not_ask(server):
    headers = {**JSON, "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    for method in ("POST", "GET"):
        status, *_ = ask(server, "/storymem/setup", method=method, headers=headers, body=b"{}")
        assert status == 403


def test_nothing_is_known_of_a_check_that_is_over(server):
    check(server, id="7")
    assert server.get("/storymem/setup?id=7") == {"done": 0, "of": 0}


# --- beside the host's own words, in this process ---


@pytest.fixture
def facts(host):
    return host.pack("nodes.host.setup_facts")


def test_a_node_is_missing_where_the_host_does_not_have_it(server):
    """The server has a pack with a node of its own; see ``BROKEN``."""
    told = server.get("/object_info")
    for kind in ("WorkingNode", "StoryMemShotLoopOpen", "StoryMemNoSuchNode"):
        found = check(server, prompt={"1": {"class_type": kind, "inputs": {}}})
        lacking = "is missing: update this pack" in found["text"]
        assert lacking == (kind not in told) == (kind == "StoryMemNoSuchNode")


def test_packs_that_did_not_load_are_told_and_no_others(base, server):
    """By a server that loads them; which those are its log says, too."""
    said = {line.rsplit("/", 1)[1] for line in server.log().splitlines() if "IMPORT FAILED" in line}
    assert said == {"raises", "empty", "broken_single.py"}
    (names,) = (one for one in private(check(server)) if "raises" in one)
    assert set(names.split(", ")) == said


class _Kind(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


def test_options_are_told_without_what_was_typed(facts):
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-directory", type=str)
    parser.add_argument("--models", nargs="+", action="append")
    parser.add_argument("--listen", type=str, default="127.0.0.1")
    parser.add_argument("--reserve-vram", type=float)
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--lowvram", action="store_true")
    parser.add_argument("--cuda-malloc", action="store_true")
    parser.add_argument("--cuda-device", type=str)
    parser.add_argument("--preview-method", type=_Kind, default=_Kind.FAST, choices=_Kind)
    given = "--output-directory /home/mara --models /secret --listen 10.1.2.3 --reserve-vram 1.5"
    typed = [*given.split(), "--lowvram", "--preview-method=slow", "--cuda-d=0"]
    found = parser.parse_args(typed)
    found.cuda_malloc = True  # as the host does by itself
    assert facts.launch_options(parser, found, typed) == (
        "--cuda-device",
        "--listen", "--lowvram", "--models", "--output-directory", "--preview-method slow",
        "--reserve-vram 1.5",
    )  # fmt: skip


def test_all_folders_of_models_are_looked_at_where_the_host_has_them(facts):
    import folder_paths

    found = facts.model_folders()
    assert "custom_nodes" not in found
    for kind in ("diffusion_models", "loras", "vae", "text_encoders", "clip_vision"):
        assert [str(place) for place in found[kind]] == folder_paths.get_folder_paths(kind)


def test_a_card_is_told_with_the_memory_that_the_host_counts(facts, monkeypatch):
    import torch

    assert facts.cards() == ()  # the tests' host has none
    device = torch.device("cuda:0")
    sizes = {"get_total_memory": 24 * 2**30, "get_free_memory": 20 * 2**30}
    monkeypatch.setattr(facts.devices, "get_torch_device", lambda: device)
    for name, size in sizes.items():
        monkeypatch.setattr(facts.devices, name, lambda asked, size=size: size * (asked == device))
    name = "cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync"
    monkeypatch.setattr(facts.devices, "get_torch_device_name", lambda _: name)
    (card,) = facts.cards()
    assert (card.name, card.total, card.free) == ("NVIDIA GeForce RTX 4090", *sizes.values())
    assert card.held == 0


class _Patcher:
    """A model of the host, as far as it is asked."""

    def __init__(self, device, size: int):
        self.load_device, self.size = device, size

    def loaded_size(self) -> int:
        return self.size


def test_what_the_host_holds_on_a_card_and_the_other_cards_are_told(facts, monkeypatch):
    import torch

    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    monkeypatch.setattr(facts.devices, "get_torch_device", lambda: first)
    for name in ("get_total_memory", "get_free_memory"):
        monkeypatch.setattr(facts.devices, name, lambda asked: 24)
    monkeypatch.setattr(facts.devices, "get_torch_device_name", lambda _: "cuda:0 X : native")
    monkeypatch.setattr(facts.devices, "get_all_torch_devices", lambda: [first, second])
    told = argparse.Namespace(name="Y", total_memory=7)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda asked: {second: told}[asked])
    models = [_Patcher(first, 5), _Patcher(first, 6), _Patcher(second, 90), None]
    monkeypatch.setattr(facts.devices, "loaded_models", lambda: models)
    allocated = {first: 3}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda asked: allocated[asked])
    card, other = facts.cards()
    assert (card.free, card.held, other.name, other.total, other.free) == (24, 11, "Y", 7, None)
    allocated[first] = 20  # a run that goes on
    assert facts.cards()[0].held == 20
    monkeypatch.delattr(facts.devices, "loaded_models")
    monkeypatch.delattr(facts.devices, "get_all_torch_devices")
    assert [one.held for one in facts.cards()] == [20]  # a host of another make


# --- waiting, and leaving ---


class Asked:
    """A request of a page that waits, until it leaves."""

    def __init__(self, **body):
        self.content, self.is_open, self.query = self, True, {}
        self.body = json.dumps(body).encode()

    @property
    def transport(self):
        return self if self.is_open else None

    def is_closing(self) -> bool:
        return False

    async def iter_chunked(self, _):
        yield self.body


def test_a_check_ends_when_its_page_leaves_and_the_next_one_is_made(host, monkeypatch):
    routes = host.pack("nodes.page.setup_routes")
    looked = []

    def check(inputs):
        for number in range(200):
            looked.append(number)
            inputs.tell(number, 200)
            time.sleep(0.01)
        return routes.Report(())

    async def leave() -> tuple[int, dict, int]:
        route, asked = routes.SetupRoute(), Asked(id="a")
        waiting = asyncio.create_task(route(asked))
        await asyncio.sleep(0.2)
        progress = json.loads((await route.show_progress(_Query("a"))).text)
        asked.is_open = False
        left = await waiting
        seen = len(looked)
        monkeypatch.setattr(routes, "check", lambda inputs: routes.Report(()))
        later = await route(Asked(id="b"))
        return left.status, progress, seen, later.status

    monkeypatch.setattr(routes, "check", check)
    status, progress, seen, later = asyncio.run(leave())
    assert (status, later) == (499, 200)
    assert 0 < progress["done"] < progress["of"] == 200
    assert seen < 200


def test_what_is_known_of_files_does_not_grow_for_ever(host, monkeypatch):
    routes = host.pack("nodes.page.setup_routes")
    monkeypatch.setattr(routes, "MOST_KNOWN", 3)

    def check(inputs):
        inputs.known.update(dict.fromkeys(range(10)))
        return routes.Report(())

    monkeypatch.setattr(routes, "check", check)
    route = routes.SetupRoute()
    asyncio.run(route(Asked()))
    assert list(route._known) == [7, 8, 9]


class _Query:
    def __init__(self, name: str):
        self.query = {"id": name}


def test_a_part_of_the_host_that_is_not_as_expected_hides_nothing_else(host, monkeypatch):
    routes = host.pack("nodes.page.setup_routes")
    monkeypatch.setattr(routes, "host_facts", lambda _: 1 / 0)
    answer = asyncio.run(routes.SetupRoute()(Asked()))
    found = json.loads(answer.text)
    assert "could not be asked about itself (ZeroDivisionError)" in found["text"]
    assert {"machine", "files"} <= {section["key"] for section in found["sections"]}
