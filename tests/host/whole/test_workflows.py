"""The shipped graphs: known to the host, whole in its page, and offered there as templates and
blueprints."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.browser import find_chromium, load_workflow, open_page
from helpers.not_empty import not_empty
from helpers.server_base import serving, shipped_base
from helpers.workflow_graphs import needs
from storymem.files.workflow_file import to_api

PACK = Path(__file__).resolve().parents[3]
WORKFLOWS = not_empty((PACK / "workflows").rglob("*.json"))
TEMPLATES = not_empty(
    (PACK / "workflows").glob("*.json")
)  # the host offers those, and no subfolders
BLUEPRINTS = not_empty((PACK / "subgraphs").glob("*.json"))
FILES = [*WORKFLOWS, *BLUEPRINTS]
WRITTEN_WITH = "0.33.0"  # another host may describe its nodes in another way
THUMBNAIL_BYTES = 60_000
needs_page = pytest.mark.skipif(find_chromium() is None, reason="no Chromium: no page to look at")


def name(path: Path) -> str:
    return path.relative_to(PACK).with_suffix("").as_posix()


each_file = pytest.mark.parametrize("path", FILES, ids=name)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def nodes_of(workflow: dict) -> list[dict]:
    """The nodes of a file, those inside subgraphs too."""
    inside = workflow.get("definitions", {}).get("subgraphs", [])
    kinds = {subgraph["id"] for subgraph in inside}
    levels = [workflow["nodes"], *(subgraph["nodes"] for subgraph in inside)]
    return [n for n in itertools.chain(*levels) if n["type"] not in kinds]


def skip_without_its_nodes(path: Path, object_info: dict) -> None:
    needed = needs().get(path.stem)
    if needed and needed not in object_info:
        pytest.skip(f"{path.name} is not tested here: this ComfyUI has no {needed}")


def covering(boxes: list[dict]) -> list[tuple[str, str]]:
    """Nodes that cover each other, title bars included."""
    found = []
    for one, other in itertools.combinations(boxes, 2):
        (x, y, w, h), (other_x, other_y, other_w, other_h) = one["box"], other["box"]
        if x < other_x + other_w and other_x < x + w and y < other_y + other_h and other_y < y + h:
            found.append((one["title"], other["title"]))
    return found


def without_notes(prompt: dict) -> dict:
    return {
        node_id: (node["class_type"], node["inputs"])
        for node_id, node in prompt.items()
        if node["class_type"] != "MarkdownNote"
    }


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host):
    """A server whose models carry the names that the workflows use."""
    base = shipped_base(tmp_path_factory.mktemp("workflow_server"), base_folder)
    with serving(base, "--disable-api-nodes") as running:
        yield running


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


@pytest.fixture(scope="module")
def page(server):
    """One page for all tests, of an artist who has been here before: without the host's tour."""
    server.post("/settings", {"Comfy.TutorialCompleted": True})
    with open_page(server.port) as opened:
        yield opened


@each_file
def test_every_node_and_input_of_a_workflow_is_known_to_the_host(path, object_info):
    skip_without_its_nodes(path, object_info)
    workflow = read(path)
    for node in nodes_of(workflow):
        assert node["type"] == "MarkdownNote" or node["type"] in object_info
    blueprint_inputs = set()  # what comes from outside
    if path in BLUEPRINTS:
        blueprint_inputs = {i["type"] for i in workflow["nodes"][0]["inputs"]}
    for node in to_api(workflow, object_info).values():
        sections = object_info[node["class_type"]]["input"]
        declared = {
            name: spec
            for section in ("required", "optional")
            for name, spec in sections.get(section, {}).items()
        }
        unknown = {name for name in node["inputs"] if name.split(".")[0] not in declared}
        assert not unknown, node["class_type"]
        given = {name.split(".")[0] for name in node["inputs"]}
        missing = set(sections.get("required", ())) - given
        missing -= {name for name in missing if declared[name][0] in blueprint_inputs}
        assert not missing, node["class_type"]


@each_file
def test_the_notes_name_every_model_file_and_its_folder(path):
    nodes = nodes_of(read(path))
    texts = [n["widgets_values"][0] for n in nodes if n["type"] == "MarkdownNote"]
    assert any(text.startswith("# ") for text in texts), "a note with the workflow's title"
    notes = " ".join(texts)
    for node in nodes:
        for model in node.get("properties", {}).get("models", ()):
            assert model["name"] in notes
            assert f"models/{model['directory']}" in notes
            assert model["url"] in notes


# The first film's, and that of the film which is finished: beside it, under a title of its own.
OWN_FOLDERS = {"storymem_story": "storymem", "storymem_finish": "storymem_tiny_cpu"}


def test_every_workflow_writes_to_a_folder_of_its_own():
    """A draft never takes the place of a film that another workflow made of the same story."""
    prefixes = {}
    for path in WORKFLOWS:
        for node in nodes_of(read(path)):
            if node["type"] in ("StoryMemShotLoopOpen", "StoryMemBeginStory"):
                own = OWN_FOLDERS.get(path.stem, path.stem)
                prefixes[path.stem] = own in node["widgets_values"]
    assert len(prefixes) == 13
    assert all(prefixes.values())


@pytest.fixture(scope="module")
def is_newest(server) -> bool:
    """Whether this host is the one that the files were written with."""
    return server.get("/system_stats")["system"]["comfyui_version"] == WRITTEN_WITH


def test_the_files_are_what_their_descriptions_make(server, object_info, is_newest, tmp_path):
    if not is_newest:
        pytest.skip(f"the files were written with {WRITTEN_WITH}")
    script = PACK / "tests" / "tools" / "make_workflows.py"
    address = f"http://127.0.0.1:{server.port}"
    subprocess.run([sys.executable, script, "--server", address, "--into", tmp_path], check=True)
    made = {
        p.relative_to(tmp_path).as_posix(): p.read_bytes()
        for p in not_empty(tmp_path.rglob("*.json"))
    }
    shipped = {
        p.relative_to(PACK).as_posix(): p.read_bytes()
        for p in FILES
        if needs().get(p.stem, "StoryMemLoadStory") in object_info
    }
    assert made.keys() == shipped.keys()
    changed = [path for path, content in made.items() if content != shipped[path]]
    assert changed == [], "run python tests/tools/make_workflows.py beside a running ComfyUI"


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_workflow_has_a_small_picture_for_the_template_browser(path):
    picture = path.with_suffix(".jpg")
    assert picture.stat().st_size < THUMBNAIL_BYTES
    with Image.open(picture) as opened:
        assert opened.size == (512, 512)


def test_the_host_offers_the_workflows_and_no_file_of_a_subfolder(server):
    offered = server.get("/workflow_templates")["ComfyUI-StoryMem"]
    assert sorted(offered) == [path.stem for path in TEMPLATES]


def test_the_host_offers_the_blueprints(server):
    offered = [
        entry["name"]
        for entry in server.get("/global_subgraphs").values()
        if entry["info"]["node_pack"] == "custom_nodes.ComfyUI-StoryMem"
    ]
    assert sorted(offered) == [path.stem for path in BLUEPRINTS]


@needs_page
@each_file
def test_a_workflow_opens_whole_in_the_hosts_own_page(path, page, object_info):
    skip_without_its_nodes(path, object_info)
    workflow = read(path)
    seen = load_workflow(page, workflow)
    assert seen["missing"] == []
    assert seen["nodes"] == len(workflow["nodes"])
    assert seen["links"] == len(workflow["links"])
    assert covering(seen["boxes"]) == []
    # What the page would queue is what the headless tests queue.
    assert without_notes(seen["prompt"]) == without_notes(to_api(workflow, object_info))


@needs_page
def test_the_template_browser_shows_each_workflow_with_its_picture(page):
    page.get_by_text("Templates", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_placeholder("Search").fill("story")
    for path in TEMPLATES:
        picture = dialog.locator(f'img[alt="{path.stem}"]')
        picture.scroll_into_view_if_needed()
        loaded = "img => img.complete && img.naturalWidth === 512"
        page.wait_for_function(loaded, arg=picture.element_handle())
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")


@needs_page
@pytest.mark.parametrize("path", BLUEPRINTS, ids=name)
def test_an_artist_finds_a_blueprint_drops_it_and_has_the_whole_graph(
    path, page, object_info, is_newest
):
    page.evaluate("() => window.app.graph.clear()")
    search = "Workspace.SearchBox.Toggle"  # what a double click on the canvas does
    page.evaluate(f"() => window.app.extensionManager.command.execute('{search}')")
    page.wait_for_function("document.activeElement.tagName === 'INPUT'")
    page.keyboard.type(path.stem)
    page.get_by_role("option").filter(has_text=path.stem).first.wait_for()
    page.keyboard.press("Enter")
    page.mouse.click(1100, 600)  # it hangs at the pointer until it is put down
    page.wait_for_function("window.app.graph._nodes.length === 1")
    known = "window.app.graph._nodes.every((n) => !n.has_errors && n.subgraph)"
    assert page.evaluate(known)
    dropped = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    outer = next(iter(dropped)).split(":")[0]
    expected = to_api(read(path), object_info)
    shipped_as = next(iter(expected)).split(":")[0]
    same_ids = json.loads(json.dumps(dropped).replace(f'"{outer}:', f'"{shipped_as}:'))
    assert without_notes(same_ids) == without_notes(expected)
    # What the artist sets on the one node reaches the nodes inside.
    page.evaluate("""() => {
        for (const widget of window.app.graph._nodes[0].widgets) {
            if (widget.name === "steps") widget.value = 4;
            if (widget.name === "sampler_name") widget.value = "euler";
        }
    }""")
    changed = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    (sampler,) = (n for n in changed.values() if n["class_type"] == "StoryMemM2VSampler")
    choices = page.evaluate("() => app.graph._nodes[0].widgets.some((w) => w.name === 'scheduler')")
    assert choices or not is_newest, "lists of choices stay inside on the page of 0.18 alone"
    wanted = (4, "euler") if choices else (4, "storymem_unipc")
    assert (sampler["inputs"]["steps"], sampler["inputs"]["sampler_name"]) == wanted
