"""The page of servers that are not as usual: other folders, several users, on another machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from helpers.browser import find_chromium, open_page, wait_for_text, wait_until_ready
from helpers.gallery_page import SETTINGS, WITH_ID, StoryPage, ask, open_story, prepare_base
from helpers.host_server import Server
from helpers.not_empty import not_empty

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
JSON = {"Content-Type": "application/json"}
OWN_EXTENSIONS = """() => app.extensions.map((extension) => extension.name)
    .filter((name) => name.startsWith("StoryMem.")).sort()"""
SCRIPTS = Path(__file__).resolve().parents[3] / "web" / "js"
NAMED = r'registerExtension\(\{\s*name: "(StoryMem\.\w+)"'
SHARED_ID = "7d1ba9a2-5a5c-4d3b-9a54-3c0d6a8f2b11"  # of a workflow file that both have
LISTEN = """async () => {
    const { api } = await import("/scripts/api.js");
    window.heard = [];
    for (const event of ["storymem.progress", "storymem.bank", "executed"]) {
        api.addEventListener(event, () => window.heard.push(event));
    }
}"""


@pytest.fixture
def serve(base_folder, tmp_path):
    """Starts servers with a base folder of their own, and stops them."""
    servers: list[Server] = []

    def start(*arguments: str, folder: str = "renamed") -> Server:
        base = prepare_base(tmp_path / f"base{len(servers)}", base_folder, folder=folder)
        servers.append(Server(base, "--disable-api-nodes", *arguments))
        return servers[-1].start()

    yield start
    for server in servers:
        server.stop()


# --- the folder's name ---------------------------------------------------------------------------


def extensions() -> list[str]:
    """What the pack's scripts register with the page, by name."""
    scripts = [path.read_text(encoding="utf-8") for path in not_empty(SCRIPTS.rglob("*.js"))]
    return sorted(name for text in scripts for name in re.findall(NAMED, text))


@pytest.mark.parametrize("folder", ["ComfyUI StoryMem", "故事"])
def test_a_folder_whose_name_is_no_address_has_its_page_all_the_same_and_is_told_of(serve, folder):
    server = serve(folder=folder)
    assert server.log().count("rename it to ComfyUI-StoryMem") == 1
    assert ask(server, f"/extensions/{quote(folder)}/js/loop/extension.js")[0] == 404, (
        "the host can serve such folders now: nothing has to be done and told any more"
    )
    with open_page(server.port) as page:
        assert page.evaluate(OWN_EXTENSIONS) == extensions()


@pytest.mark.parametrize("name", ["ComfyUI-StoryMem", "a+b", "a(1)", "x_y.z~"])
def test_a_folder_with_a_plain_name_is_left_alone(host, monkeypatch, tmp_path, caplog, name):
    folders = {name: "web"}
    fake = SimpleNamespace(EXTENSION_WEB_DIRS=folders)
    monkeypatch.setitem(sys.modules, "nodes", fake)
    host.pack("nodes.host.server").serve_web_files(tmp_path / name)
    assert (folders, caplog.records) == ({name: "web"}, [])


# --- several users -------------------------------------------------------------------------------


def test_what_one_user_runs_stays_out_of_the_page_of_another(serve, tmp_path):
    server = serve("--multi-user")
    users = {}
    for name, language in (("Mira", "zh"), ("Noor", "en")):
        users[name] = server.post("/users", {"username": name})
        folder = server.base / "user" / users[name]
        folder.mkdir(exist_ok=True)
        settings = json.dumps({**SETTINGS, "Comfy.Locale": language})
        (folder / "comfy.settings.json").write_text(settings)
    with open_story(server, tmp_path / "log", user=users["Mira"]) as mira:
        mira.load()
        mira.page.evaluate(WITH_ID, SHARED_ID)
        context = mira.page.context.browser.new_context(viewport={"width": 1700, "height": 1100})
        page = context.new_page()
        page.add_init_script(f"localStorage['Comfy.userId'] = {json.dumps(users['Noor'])}")
        page.goto(mira.page.url)
        wait_until_ready(page)
        noor = StoryPage(server, page, mira.log)
        noor.load()  # nodes of the same numbers
        for user in (mira, noor):
            user.page.evaluate(LISTEN)
        assert sorted(mira.queue()) == [1, 2, 3, 4, 5, 6]
        page.wait_for_timeout(500)  # Noor's page is told nothing
        assert len(mira.shown()) == 18
        assert {"storymem.progress", "storymem.bank"} <= set(mira.page.evaluate("heard"))
        # Noor's page may have read meanwhile how many shots are finished in the folder of both.
        assert (noor.shown(), page.evaluate("heard")) == ([], [])
        assert page.locator(".sm-cancel:visible, .sm-list [data-state=running]").count() == 0
        assert "工作流" not in noor.gallery().inner_text()
        wait_for_text(mira.page, mira.gallery(), "4 帧")
        # Noor loads Mira's file, and still has no memory of what Mira ran.
        page.evaluate(WITH_ID, SHARED_ID)
        page.wait_for_timeout(1000)
        assert noor.shown() == []
        # Each changes a memory of their own; the finished shots belong to both.
        mira.focus(mira.shown()[1]["digest"])
        mira.press("p")
        assert (list(mira.edits()), noor.edits()) == (["pin"], {})
        assert noor.queue() == {}
        assert [card["next"] for card in noor.shown()] == [""] * 18
        assert sum(card["next"] != "" for card in mira.shown()) == 1
        assert (mira.errors, noor.errors) == ([], [])


# --- a server on another machine -----------------------------------------------------------------


def test_everything_works_from_another_machine(serve, tmp_path):
    """Over plain http under a name, where a browser sends no Sec-Fetch-Site and has fewer
    features than on the artist's own machine."""
    server = serve("--listen", "0.0.0.0")
    with open_story(server, tmp_path / "log", machine="studio.example") as story:
        page = story.page
        assert page.evaluate("() => isSecureContext") is False
        asked = []
        page.on("response", lambda answer: asked.append((answer.url, answer.status)))
        story.load(shots=3)
        assert sorted(story.queue()) == [1, 2, 3]
        story.gallery().locator("img").first.wait_for()
        page.wait_for_function("document.querySelector('.storymem-card img').naturalWidth > 0")
        card = story.shown()[1]
        story.focus(card["digest"])
        story.press("d")
        assert story.edits() == {"drop": [card["digest"]]}
        page.locator(".sm-edit").focus()
        story.press("Enter")
        page.wait_for_selector(".sm-editor li[data-id]")
        own = [(url, status) for url, status in asked if "/storymem/" in url]
        refused = [entry for entry in own if entry[1] >= 400]
        assert {url.split("/storymem/")[1].split("/")[0].split("?")[0] for url, _ in own} >= {
            "picture",
            "story",
        }
        assert (refused, story.errors) == ([], [])


def test_a_server_on_another_machine_answers_its_own_page_only(serve):
    """The host refuses foreign pages on the artist's own machine only; these routes everywhere."""
    server = serve("--listen", "0.0.0.0")
    here = f"studio.example:{server.port}"
    body = json.dumps({"script": "a", "file": "", "character": "", "prefix": ""}).encode()
    routes = (("POST", "/storymem/story", body), ("POST", "/storymem/script", b"{}"))
    routes += (("GET", f"/storymem/picture/{'0' * 64}", None), ("GET", "/storymem/poster", None))
    foreign = (
        {"Origin": "http://evil.example"},
        {"Origin": f"http://evil.example:{server.port}"},
        {"Origin": "null"},
        {"Origin": f"http://{here}", "Sec-Fetch-Site": "cross-site"},
    )
    for method, path, data in routes:
        for prefix in ("", "/api"):
            asking = {"method": method, "body": data}
            for headers in foreign:
                headers = {"Host": here, **JSON, **headers}
                assert ask(server, prefix + path, headers=headers, **asking)[0] == 403, headers
            own = {"Host": here, "Origin": f"http://{here}", **JSON}
            assert ask(server, prefix + path, headers=own, **asking)[0] in (200, 404)
            assert ask(server, prefix + path, headers={"Host": here, **JSON}, **asking)[0] != 403
