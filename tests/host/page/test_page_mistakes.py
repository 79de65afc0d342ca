"""What a new user gets wrong is told on the node at fault before the first shot, in the page."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path

import pytest

from helpers.browser import TOASTS, eventually, find_chromium, open_page
from helpers.gallery_page import prepare_base
from helpers.mistakes import MISTAKES, OPEN, SAMPLER, SCRIPT, STORY, TYPED, Graph, Mistake
from helpers.server_base import serving, with_shipped_names
from storymem.files.workflow_file import to_api

PACK = Path(__file__).resolve().parents[3]
SMALL = {"width": 64, "height": 48, "length": 17, "steps": 3}
LISTEN = """async () => {
    const { api } = await import("/scripts/api.js");
    window.heard = [];
    const queue = api.queuePrompt;
    api.queuePrompt = async (...asked) => {
        const answer = await queue.apply(api, asked);
        window.mine = answer.prompt_id;
        return answer;
    };
    for (const kind of ["storymem.notices", "storymem.progress", "execution_error"]) {
        api.addEventListener(kind, ({ detail }) => window.heard.push([detail.state ?? "",
            JSON.stringify(detail.notices ?? "") + (detail.exception_message ?? ""),
            detail.prompt_id]));
    }
}"""
LOAD = """(graph) => {
    window.heard.length = 0;
    window.mine = null;
    return app.loadApiJson(graph, "mistake");
}"""
TOLD = """() => ({
    notes: app.graph._nodes.flatMap((node) => (node.widgets ?? [])
        .filter((widget) => widget.name === "storymem_notice")
        .map(({ element }) => [node.comfyClass, element.dataset.kind, element.textContent])),
    story: document.querySelector(".sm-panel-on-node .sm-notice")?.textContent ?? "",
    red: [app.lastExecutionError?.node_id, ...Object.keys(app.lastNodeErrors ?? {})]
        .filter(Boolean).map((id) => app.graph.getNodeById(id).comfyClass),
    refused: JSON.stringify(app.lastNodeErrors ?? {}),
    toasts: [...document.querySelectorAll("TOASTS")].map((e) => e.innerText).join(" "),
    // What a page hears late of the mistake before is none of this one's.
    heard: window.heard.filter(([, , of]) => !of || of === window.mine),
})""".replace("TOASTS", TOASTS)
CLEAR = """async () => {
    const { api } = await import("/scripts/api.js");
    await api.interrupt();
    const { toast } = app.extensionManager;
    (toast.dismissAll ?? toast.removeAll).call(toast);
}"""


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host):
    """A server with stand-ins for the large models."""
    base = prepare_base(tmp_path_factory.mktemp("mistakes"), base_folder, folder="ComfyUI-StoryMem")
    threads = {"OMP_NUM_THREADS": "1"}
    with serving(with_shipped_names(base), "--disable-api-nodes", env=threads) as running:
        yield running


@pytest.fixture(scope="module")
def shipped(server) -> str:
    """The shipped story workflow as an API prompt, small, as JSON."""
    path = PACK / "workflows" / "storymem_story.json"
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), server.get("/object_info"))
    for node in prompt.values():
        if node["class_type"] == "CLIPLoader":
            node.update(class_type="StoryMemTestTextEncoder", inputs={})
        node["inputs"].update({n: v for n, v in SMALL.items() if n in node["inputs"]})
    return json.dumps(prompt)


def made(shipped: str, mistake: Mistake) -> dict:
    """The workflow with a mistake in it, and with shots of its own."""
    graph = Graph(json.loads(shipped))
    graph.set(STORY, script=SCRIPT.format(mistake.name))
    graph.set(OPEN, filename_prefix=mistake.name.replace("'", ""))
    mistake.make(graph)
    return graph.prompt


@pytest.mark.http
@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at")
def test_mistakes_are_told_on_the_node_before_the_first_shot(server, shipped):
    silent = {}
    with open_page(server.port, width=1800, height=1100) as page:
        page.evaluate(LISTEN)
        for mistake in MISTAKES:
            page.evaluate(LOAD, made(shipped, mistake))
            page.evaluate("() => { app.queuePrompt(0); }")
            if wrong := _what_is_missing(page, mistake):
                silent[mistake.name] = wrong
            page.evaluate(CLEAR)
            assert eventually(page, lambda: not _running(server), seconds=60)
    assert silent == {}


def _running(server) -> list:
    queue = server.get("/queue")
    return queue["queue_running"] + queue["queue_pending"]


def _what_is_missing(page, mistake: Mistake) -> str:
    """What a page does not tell of a mistake, however long it is waited for; empty when it is all
    there."""
    eventually(page, lambda: not _missing(page.evaluate(TOLD), mistake), seconds=30)
    page.wait_for_timeout(100)
    return _missing(page.evaluate(TOLD), mistake)


def _missing(seen: dict, mistake: Mistake) -> str:
    before = list(takewhile(lambda event: event[0] != "finished", seen["heard"]))
    words = [text for _, text, _ in before] + [seen["story"]]
    if len(before) < len(seen["heard"]) and not any(mistake.words in text for text in words):
        return f"a shot was made first: {seen}"
    told_on = {kind for kind, _, text in seen["notes"] if mistake.words in text}
    if not mistake.is_error and mistake.on == STORY:  # there while the artist types
        return "" if mistake.words in seen["story"] else f"not told: {seen}"
    is_of_host = not mistake.on.startswith("StoryMem") and mistake.is_error  # tells it itself
    if mistake.is_error and mistake.on not in seen["red"]:
        return f"another node is red: {seen}"
    if is_of_host:
        return "" if mistake.words in seen["refused"] else f"not told: {seen}"
    if mistake.on not in told_on:
        return f"not told on {mistake.on}: {seen}"
    return "" if mistake.words in seen["toasts"] else f"not told over the page: {seen}"


NODES = """() => Object.fromEntries(app.graph.serialize().nodes
    .filter(({ type }) => ["CLIPTextEncode", "StoryMemM2VSampler"].includes(type))
    .map(({ id, size, widgets_values: values }) => [id, [[...size].map(Math.round), values]]))"""
KEEP = """() => {
    const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
    (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
}"""
CHANGE = "() => { app.graph._nodes.at(-1).title = 'changed'; }"
UNDO = "() => app.extensionManager.workflow.activeWorkflow.changeTracker.undo()"
MEND = """() => {
    const of = (kind) => app.graph._nodes.filter((node) => node.comfyClass === kind);
    const [open] = of("StoryMemShotLoopOpen");
    const [sampler] = of("StoryMemM2VSampler");
    const encoder = of("CLIPTextEncode").find(({ widgets }) => widgets[0].value === "A cat sits.");
    const input = (node, name) => node.inputs.findIndex((found) => found.name === name);
    open.connect(2, sampler, input(sampler, "bank"));
    open.connect(4, encoder, input(encoder, "text"));
}"""


@pytest.mark.http
@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at")
@pytest.mark.parametrize("is_vue", [False, True], ids=["canvas", "nodes_2"])
def test_notes_stay_with_their_nodes_and_leave_no_trace(server, shipped, is_vue):
    def make(graph: Graph) -> None:
        graph.drop(SAMPLER, "bank")
        encoder = graph.inputs(SAMPLER)["positive"][0]
        graph.prompt[encoder]["inputs"]["text"] = "A cat sits."
        graph.set("VAELoader", vae_name="pixel_space")

    def kinds() -> list[tuple[str, str]]:
        return sorted((kind, state) for kind, state, _ in page.evaluate(TOLD)["notes"])

    wrong = made(shipped, Mistake(f"notes {is_vue}", make, SAMPLER, ""))
    told = [("CLIPTextEncode", "notice"), (SAMPLER, "error")]
    with open_page(server.port, width=1800, height=1100) as page:
        page.evaluate(LISTEN)
        page.evaluate(
            "(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", is_vue
        )
        page.wait_for_timeout(1000)
        page.evaluate(LOAD, wrong)
        page.wait_for_timeout(1000)
        page.evaluate(KEEP)
        before = page.evaluate(NODES)
        page.evaluate("() => { app.queuePrompt(0); }")
        assert eventually(page, lambda: kinds() == told), kinds()
        page.wait_for_timeout(1000)
        assert page.evaluate(NODES) == before, "what would be saved"
        page.evaluate(KEEP)

        page.evaluate(CHANGE)
        page.evaluate(KEEP)
        page.evaluate(UNDO)
        page.wait_for_timeout(1000)
        assert kinds() == told, "after undo"
        page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
        assert eventually(page, lambda: kinds() == []), "in another tab"
        page.wait_for_timeout(1000)  # the host is busy with that tab
        page.locator("[class*=workflow-tab]").filter(has_text="mistake").last.click()
        assert eventually(page, lambda: kinds() == told), "after the tab was shown again"

        page.evaluate(MEND)
        page.evaluate("""() => { app.graph._nodes.find((n) => n.comfyClass === "VAELoader")
            .widgets[0].value = "wan_2.1_vae.safetensors"; }""")
        page.evaluate("() => { app.queuePrompt(0); }")
        assert eventually(page, lambda: kinds() == []), kinds()
        page.wait_for_timeout(1000)
        sizes = {i: size for i, (size, _) in page.evaluate(NODES).items()}
        assert sizes == {i: size for i, (size, _) in before.items()}
        page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
        page.evaluate(CLEAR)
        assert eventually(page, lambda: not _running(server), seconds=60)


@pytest.mark.http
@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at")
def test_what_is_told_of_a_node_in_a_subgraph_says_where_it_is(server, shipped):
    wrong = Mistake("a subgraph", lambda g: g.drop(SAMPLER, "bank"), SAMPLER, "")
    with open_page(server.port, width=1800, height=1100) as page:
        page.evaluate(LISTEN)
        page.evaluate(LOAD, made(shipped, wrong))
        page.evaluate("""() => {
            const inside = app.graph._nodes.filter((n) => n.comfyClass === "StoryMemM2VSampler");
            app.graph.convertToSubgraph(new Set(inside)).node.title = "My part";
        }""")
        page.evaluate("() => { app.queuePrompt(0); }")
        assert eventually(page, lambda: "no shot sees" in page.evaluate(TOLD)["toasts"])
        assert "My part \u203a StoryMemM2VSampler: bank" in page.evaluate(TOLD)["toasts"]
        page.evaluate(CLEAR)
        assert eventually(page, lambda: not _running(server), seconds=60)


@pytest.mark.http
@pytest.mark.parametrize("mistake", TYPED, ids=lambda m: m.name)
def test_sizes_from_a_program_are_refused_on_the_sampler(server, shipped, mistake):
    prompt = made(shipped, mistake)
    with pytest.raises(RuntimeError) as refused:
        server.post("/prompt", {"prompt": prompt})
    answer = json.loads(str(refused.value))
    assert mistake.words in json.dumps(answer["node_errors"][Graph(prompt).id(mistake.on)])
