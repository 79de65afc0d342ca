"""The tiny model's story in the host's own page, from the pack's template to the judge."""

from __future__ import annotations

import re
from functools import cache

import torch

from helpers.browser import eventually, hear_ends, settle, wait_for_end
from helpers.story_page import StoryPage


def script(title: str, *shots: str) -> str:
    """Shots with a cut before each: none is given frames of the one before."""
    return f"[title: {title}]\n" + "\n---\n".join(shots) + "\n"


SHOTS = ("Bomo sways, meadow, still", "Bomo jumps, beach, still", "Bomo stands, city, still")
FIRST, SECOND = "yellow belly circle hat", "red plain square cone"
# In place of the template's values, so that a shot takes few seconds and one memory frame decides.
CHANGES = {
    "StoryMemLoadStory": {"script": script("Page", *SHOTS)},
    "StoryMemM2VSampler": {"steps": 4, "length": 9},
    "StoryMemMemoryBank": {"max_frames": 1, "sink": 1, "pin_references": False},
    "StoryMemShotLoopOpen": {"filename_prefix": "tiny"},
}
PUT = """(changes) => {
    for (const node of app.graph._nodes) {
        for (const [name, value] of Object.entries(changes[node.comfyClass] ?? {})) {
            const widget = node.widgets.find((w) => w.name === name);
            widget.value = value;
            widget.callback?.(value, app.canvas, node);
        }
    }
}"""
TWO_LOOKS = """(look) => {
    const node = app.graph._nodes.findLast((n) => n.comfyClass === "StoryMemTinyPortrait");
    const put = { character: "big", ...look };
    for (const widget of node.widgets) widget.value = put[widget.name] ?? widget.value;
}"""
HOLD_BEFORE_CLOSE = """(log) => {
    const find = (kind) => app.graph._nodes.find((n) => n.comfyClass === kind);
    const [decode, open, close] = ["VAEDecode", "StoryMemShotLoopOpen", "StoryMemShotLoopClose"]
        .map(find);
    const hold = LiteGraph.createNode("StoryMemTestHold");
    app.graph.add(hold);
    hold.widgets.find((w) => w.name === "log").value = log;
    const output = (node, name) => node.outputs.findIndex((o) => o.name === name);
    const input = (node, name) => node.inputs.findIndex((i) => i.name === name);
    decode.connect(0, hold, input(hold, "frames"));
    open.connect(output(open, "shot"), hold, input(hold, "shot"));
    hold.connect(0, close, input(close, "frames"));
    const kept = app.extensionManager.workflow.activeWorkflow.changeTracker;
    (kept.captureCanvasState ?? kept.checkState).call(kept);  // the host's draft follows
}"""
OWN_CONTROLS = """() => [...document.querySelectorAll([
        ".storymem-gallery :is(button, input)", ".sm-panel-on-node :is(button, ol)",
        ".sm-progress button"])]
    .filter((e) => !e.disabled && e.checkVisibility() && e.tabIndex >= 0)
    .map((e, i) => {
        e.dataset.seen = i;
        return e.getAttribute("aria-label") || e.textContent;
    })"""


class TinyPage(StoryPage):
    """The template with a short story of one character and two portraits that contradict."""

    def open_template(self) -> None:
        """From the template browser, as an artist does."""
        self.page.get_by_text("Templates", exact=True).first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_placeholder("Search").fill("storymem_tiny")
        dialog.locator('img[alt="storymem_tiny_cpu"]').click()
        self.page.wait_for_function("app.graph._nodes.length > 10")
        dialog.wait_for(state="hidden")

    def shorten(self) -> None:
        self.put(CHANGES)
        look = dict(zip(("hue", "pattern", "shape", "accessory"), SECOND.split(), strict=True))
        self.page.evaluate(TWO_LOOKS, look)

    def put(self, changes: dict) -> None:
        """Change widgets: by kind of node, by name."""
        self.page.evaluate(PUT, changes)

    def hold_before_close(self) -> None:
        """Let ``loop_graphs.hold`` with this page's log keep shots waiting before Close."""
        self.page.evaluate(HOLD_BEFORE_CLOSE, str(self.log))

    def widget(self, name: str, kind: str = "StoryMemLoadStory"):
        return self.page.evaluate(
            """([kind, name]) => app.graph._nodes.find((n) => n.comfyClass === kind)
                .widgets.find((w) => w.name === name).value""",
            [kind, name],
        )

    def queue(self) -> str:
        """Queue by the keyboard; the prompt's id."""
        known = set(self.prompts())
        self.logged = len(self.server.log())
        self.page.keyboard.press("Control+Enter")
        (prompt_id,) = eventually(self.page, lambda: set(self.prompts()) - known)
        return prompt_id

    def run(self) -> list[int]:
        """Queue and wait; the shots that were made."""
        hear_ends(self.page)
        prompt_id = self.queue()
        assert eventually(self.page, lambda: prompt_id in self.server.get("/history"), seconds=300)
        status = self.server.get(f"/history/{prompt_id}")[prompt_id]["status"]
        assert status["status_str"] == "success", status["messages"]
        wait_for_end(self.page, prompt_id)
        return self.made()

    def made(self) -> list[int]:
        """The shots that were made since the last queueing."""
        return [
            int(n) for n in re.findall(r"finished shot (\d+)", self.server.log()[self.logged :])
        ]

    def looks(self, title: str = "Page") -> list[str]:
        """What the judge sees in each shot of a story's folder."""
        from storymem.files.video import read_frames
        from storymem.tiny import world

        paths = sorted((self.server.base / "output/tiny" / title).glob("shot_*.mp4"))
        clips = [torch.stack([torch.from_numpy(f) for f in read_frames(path)]) for path in paths]
        only_big = torch.eye(1, len(world.KINDS), dtype=torch.bool).expand(len(clips), -1)
        seen = _judge().identify(torch.stack(clips).float() / 255, only_big)[:, 0]
        words = world.ATTRIBUTES.values()
        return [
            " ".join(values[i] for values, i in zip(words, look, strict=True))
            for look in seen.tolist()
        ]

    def room_below_film(self) -> tuple[float, float]:
        """Width of Shot Loop Close, and pixels between it and the title of the node below."""
        close, preview = self.page.evaluate(
            """() => ["StoryMemShotLoopClose", "StoryMemPreviewMemoryBank"].map((kind) => {
                const node = app.graph._nodes.find((n) => n.comfyClass === kind);
                return [...node.pos, ...node.size];
            })"""
        )
        return close[2], preview[1] - 30 - close[1] - close[3]

    # --- the gallery on Memory Bank ---

    def card(self, digest: str) -> dict:
        return next(card for card in self.cards() if card["digest"] == digest)

    def cards(self) -> list[dict]:
        """The frames of the memory: digest, role, what changes on the next queue, buttons."""
        settle(self.page)
        return self._bank().evaluate(
            """(gallery) => [...gallery.querySelectorAll(".storymem-card")].map((card) => ({
                digest: card.dataset.key.slice(1, 65),
                role: card.dataset.role,
                next: card.querySelector(".storymem-next").textContent,
                acts: [...card.querySelectorAll(".storymem-act:not([hidden])")]
                    .map((button) => button.dataset.act),
            }))"""
        )

    def focus(self, digest: str) -> None:
        card = self._bank().locator(f".storymem-card[data-key*='{digest}']").first
        card.locator(".storymem-picture").focus()

    def _bank(self):
        self.page.evaluate(
            """() => app.graph._nodes.find((n) => n.comfyClass === "StoryMemMemoryBank")
                .storymemGallery.view.element.setAttribute("data-test", "bank")"""
        )
        return self.page.locator(".storymem-gallery[data-test='bank']")


@cache
def _judge():
    from storymem.tiny import judge

    return judge.Judge()
