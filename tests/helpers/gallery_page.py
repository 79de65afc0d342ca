"""A story in the host's own page, for the tests of what the pack adds to it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from helpers.browser import collect_errors, eventually, hear_ends, open_page, settle, wait_for_end
from helpers.host_server import ANSWER_TIME
from helpers.loop_graphs import story
from helpers.server_base import serving

PLACES = {  # of the nodes on the canvas
    "1": (20, 60), "2": (20, 340), "3": (480, 60), "4": (480, 560), "5": (900, 60),
    "6": (1220, 60), "7": (900, 340), "8": (1220, 460),
}  # fmt: skip
ARRANGE = """(places) => {
    for (const node of app.graph._nodes) node.pos = [...places[node.id]];
    app.graph.getNodeById(2).setSize([420, 520]);
    const control = app.graph.getNodeById(4).widgets.find((w) => w.name.startsWith("control"));
    control.value = "fixed";
    app.canvas.ds.scale = 0.9;
    app.canvas.ds.offset = [60, 60];
    app.canvas.setDirty(true, true);
}"""
# Files that are opened have an id, graphs of the API's format have none in older pages.
WITH_ID = "(id) => app.loadGraphData({ ...app.graph.serialize(), id })"
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False}


def prepare_base(base: Path, base_folder: Path, *, folder: str = "renamed") -> Path:
    """A base folder for a server of its own, in which the pack's folder has another name."""
    for name in ("models", "input", "output", "temp", "custom_nodes", "user/default"):
        (base / name).mkdir(parents=True)
    for source, name in (("ComfyUI-StoryMem", folder), ("storymem-test-nodes",) * 2):
        (base / "custom_nodes" / name).symlink_to((base_folder / "custom_nodes" / source).resolve())
    (base / "user" / "default" / "comfy.settings.json").write_text(json.dumps(SETTINGS))
    return base


@contextmanager
def gallery_server(base: Path, base_folder: Path, **folder):
    """A server in a base folder as ``prepare_base`` makes it."""
    with serving(prepare_base(base, base_folder, **folder), "--disable-api-nodes") as running:
        yield running


def story_graph(
    log: Path, *, shots=6, max_frames=4, sink=1, policy="window", script: str | None = None
) -> dict:
    """A loop whose shots are quick pictures; each leaves the digests that it saw in the log."""
    return {
        "1": _node("StoryMemLoadStory", script=script or story(shots), file="none"),
        "2": _node(
            "StoryMemMemoryBank", max_frames=max_frames, sink=sink, pin_references=True, edits="",
            policy=policy,
        ),
        "3": _node(
            "StoryMemShotLoopOpen", story=["1", 0], bank=["2", 0], continuity="last_frame",
            filename_prefix="gallery",
        ),
        "4": _node(
            "StoryMemTestBody", shot=["3", 1], bank=["3", 2], previous_frames=["3", 3],
            prompt=["3", 4], seed=7, width=256, height=144, length=13, seconds=0.0, log=str(log),
            fail_on="",
        ),
        "5": _node(
            "StoryMemKeyframeSelect", frames=["4", 0], bank=["3", 2], shot=["3", 1],
            threshold=0.97, max_keyframes=3,
        ),
        "6": _node("StoryMemRemember", keyframes=["5", 0], bank=["3", 2], pin=False),
        "7": _node("StoryMemShotLoopClose", flow=["3", 0], frames=["4", 0], bank=["6", 0]),
        "8": _node("StoryMemPreviewMemoryBank", bank=["7", 1]),
    }  # fmt: skip


def _node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


class StoryPage:
    """The page with a story in it, and the shots that its server made."""

    def __init__(self, server, page, log: Path):
        self.server, self.page, self.log = server, page, log
        self.errors = collect_errors(page)

    first_run: dict[int, list[str]]

    def load(self, **options) -> None:
        self.page.evaluate("(g) => app.loadApiJson(g, 'gallery')", story_graph(self.log, **options))
        self.page.wait_for_function("app.graph._nodes.length === 8")
        self.page.evaluate(ARRANGE, PLACES)

    def queue(self) -> dict[int, list[str]]:
        """Queue as the artist does, and wait; the digests that each shot saw which was made."""
        used = Path(f"{self.log}.used")
        used.unlink(missing_ok=True)
        known = set(self.server.get("/history") or {})
        hear_ends(self.page)
        self.page.evaluate("() => app.queuePrompt(0)")
        fresh = eventually(self.page, lambda: set(self.server.get("/history") or {}) - known)
        assert fresh, self.server.log()[-2000:]
        status = self.server.get(f"/history/{(prompt_id := fresh.pop())}")[prompt_id]["status"]
        assert status["status_str"] == "success", status["messages"]
        wait_for_end(self.page, prompt_id)
        lines = used.read_text().splitlines() if used.exists() else []
        return {int(line.split()[0]): line.split()[1:] for line in lines}

    def gallery(self, node_id: int = 2):
        """The gallery on a node."""
        self.page.evaluate(
            """(id) => {
                const gallery = app.graph.getNodeById(id).storymemGallery;
                gallery.view.element.setAttribute("data-test-node", id);
            }""",
            node_id,
        )
        return self.page.locator(f".storymem-gallery[data-test-node='{node_id}']")

    def shown(self, node_id: int = 2) -> list[dict]:
        """What the cards of a gallery say, in order, once they are drawn."""
        settle(self.page)
        return self.gallery(node_id).evaluate(
            """(gallery) => [...gallery.querySelectorAll(".storymem-card")].map((card) => ({
                digest: card.dataset.key.slice(1, 65),
                role: card.dataset.role,
                label: card.querySelector(".storymem-role").textContent,
                place: card.querySelector(".storymem-place").textContent,
                who: card.querySelector(".storymem-who").textContent,
                next: card.querySelector(".storymem-next").textContent,
                acts: [...card.querySelectorAll(".storymem-act:not([hidden])")]
                    .map((button) => button.dataset.act),
            }))"""
        )

    def become(self, cards: list[dict], node_id: int = 2) -> None:
        """Wait until a gallery shows these cards."""
        eventually(self.page, lambda: self.shown(node_id) == cards)
        shown = self.shown(node_id)
        if shown != cards:
            raise AssertionError(f"node {node_id} shows {shown}, not {cards}")

    def edits(self) -> dict:
        text = self.page.evaluate(
            "() => app.graph.getNodeById(2).widgets.find((w) => w.name === 'edits').value"
        )
        return json.loads(text) if text else {}

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        settle(self.page)

    def focus(self, digest: str, node_id: int = 2) -> None:
        card = self.gallery(node_id).locator(f".storymem-card[data-key*='{digest}']").first
        card.locator(".storymem-picture").focus()

    def focused(self) -> dict:
        return self.page.evaluate(
            """() => {
                const element = document.activeElement;
                return {
                    act: element.dataset.act ?? "",
                    label: element.getAttribute("aria-label") ?? "",
                    key: element.closest(".storymem-card")?.dataset.key.slice(1, 65) ?? "",
                };
            }"""
        )


@contextmanager
def open_story(server, log: Path, **size):
    with open_page(server.port, **({"width": 1700, "height": 1100} | size)) as page:
        yield StoryPage(server, page, log)


@contextmanager
def open_run_story(server, log: Path, **options):
    """A story that ran once; ``first_run``: what each of its shots saw."""
    with open_story(server, log) as story:
        story.load(**options)
        story.first_run = story.queue()
        yield story


def ask(server, path: str, *, method="GET", headers=None, body=None) -> tuple[int, dict, bytes]:
    """Status, headers and body of a request, whatever the status."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}", method=method, headers=headers or {}, data=body
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIME) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()
