"""The host's own page shows the pack's help and labels in both languages, under any folder name."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.browser import find_chromium, open_page, settle
from helpers.host_server import Server

PACK = Path(__file__).resolve().parents[3]
SHOW_ONE_NODE = """async (type) => {
    await app.loadApiJson({ 1: { class_type: type, inputs: {} } }, "help");
    const [node] = app.graph._nodes;
    node.pos = [200, 200];
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [100, 0];
    app.canvas.setDirty(true, true);
    const box = app.canvas.canvas.getBoundingClientRect();
    return {
        title: node.title,
        labels: node.inputs.map((input) => input.label || input.localized_name || input.name),
        at: [box.x + node.pos[0] + 100 + 60, box.y + node.pos[1] - 15],
    };
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("help_server")
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (base / name).mkdir()
    (base / "custom_nodes" / "another-name").symlink_to(PACK)
    running = Server(base, "--disable-api-nodes").start()
    yield running
    running.stop()


@pytest.mark.http
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at")
@pytest.mark.parametrize(
    ("language", "title", "label", "heading", "sentence"),
    [
        ("en", "Remember", "keyframes", "Common mistakes", "Puts the keyframes of a shot"),
        ("zh", "记住关键帧", "关键帧", "常见问题", "把一个镜头的关键帧放进记忆库"),
    ],
)
def test_help_opens_from_the_node_in_the_pages_language(
    server, language, title, label, heading, sentence
):
    server.post("/settings", {"Comfy.Locale": language, "Comfy.TutorialCompleted": True})
    with open_page(server.port, width=1500, height=900) as page:
        # The page opens a workflow of its own at the start; ours must come after it.
        page.wait_for_function("!!app.extensionManager.workflow?.activeWorkflow")
        shown = page.evaluate(SHOW_ONE_NODE, "StoryMemRemember")
        settle(page)
        assert shown["title"] == title
        assert shown["labels"][0] == label
        page.mouse.click(*shown["at"])
        page.get_by_test_id("info-button").click()
        text = page.locator(".node-help-content")
        text.get_by_text(sentence).wait_for()
        assert text.get_by_role("heading", name=heading).count() == 1
        assert text.locator("li code").first.inner_text() == "keyframes"
        # Nothing of it is wider than the panel, apart from the graph, which scrolls by itself.
        assert page.evaluate(
            "() => [...document.querySelectorAll('.node-help-content li, .node-help-content p')]"
            ".every((e) => e.scrollWidth <= e.clientWidth + 1)"
        )
