"""A workflow that names the released LoRA as nobody has it: the page chooses the file that is
there, before the host tells of missing models."""

from __future__ import annotations

import pytest

from helpers.browser import wait_until_ready

ASKED = ["storymem_mm2v_high_noise.safetensors", "storymem_mm2v_low_noise.safetensors"]
OWN = "StoryMem/Wan2.2-MM2V-A14B/backbone_{}_noise.safetensors"
THERE = [OWN.format(noise) for noise in ("high", "low")]
HOST_TELLS = "2 errors found"
OLD_TELLS = "Missing Models"  # ComfyUI 0.18, by the names in the file, before any page code runs
CHOSEN = """() => app.graph._nodes.map((node) => node.subgraph?.nodes[0] ?? node)
    .flatMap((node) => node.widgets.filter((w) => /^lora_(high|low)$/.test(w.name)))
    .map((widget) => widget.value)"""
WORKFLOW = {
    "version": 0.4,
    "last_node_id": 1,
    "last_link_id": 0,
    "nodes": [
        {
            "id": 1,
            "type": "StoryMemLoadLoRA",
            "pos": [200, 200],
            "size": [400, 200],
            "mode": 0,
            "flags": {},
            "properties": {
                "models": [
                    {"name": n, "url": f"https://huggingface.co/x/{n}", "directory": "loras"}
                    for n in ASKED
                ]
            },
            "widgets_values": [*ASKED, 1, "auto"],
        }
    ],
    "links": [],
    "groups": [],
}


@pytest.fixture
def released(page):
    """The released pair in the host's loras folder, as it is downloaded; nothing reads it here."""
    paths = [page.server.base / "models" / "loras" / name for name in THERE]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    yield
    for path in paths:
        path.unlink()


def load(page, workflow: dict) -> list[str]:
    page.page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
    return page.page.evaluate(CHOSEN)


def test_the_file_that_is_there_is_chosen_and_nothing_is_missing(page, released):
    page.page.reload()
    wait_until_ready(page.page)
    assert load(page, WORKFLOW) == THERE
    assert page.page.get_by_text(HOST_TELLS).count() == 0
    answer = page.server.post("/storymem/loras", {"names": [*ASKED, "nowhere.safetensors", ""]})
    assert answer == {"found": dict(zip(ASKED, THERE, strict=True))}


def test_what_is_nowhere_keeps_its_name(page):
    page.page.reload()
    wait_until_ready(page.page)
    assert load(page, WORKFLOW) == ASKED
    page.page.get_by_text(HOST_TELLS).or_(page.page.get_by_text(OLD_TELLS)).first.wait_for()


def test_the_server_takes_nothing_else_for_names(page):
    for names in ("x", [1], None):
        with pytest.raises(RuntimeError, match="must be a list of texts"):
            page.server.post("/storymem/loras", {"names": names})
