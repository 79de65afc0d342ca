"""A story in the host's own page, for the tests of the story editor and the progress display."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path

from helpers.browser import (
    collect_errors,
    eventually,
    hear_ends,
    open_page,
    settle,
    wait_for_end,
    wait_until_ready,
)
from helpers.gallery_page import SETTINGS
from helpers.host_server import PACK, Server
from helpers.loop_graphs import loop_graph, ran, release, story

STORY, OPEN, BODY, CLOSE = "1", "2", "3", "4"
PLACES = {STORY: (20, 60), OPEN: (520, 60), BODY: (960, 60), CLOSE: (1240, 60)}
ARRANGE = """(places) => {
    for (const node of app.graph._nodes) node.pos = [...places[node.id]];
    app.graph.getNodeById(1).setSize([470, 640]);
    const control = app.graph.getNodeById(3).widgets.find((w) => w.name.startsWith("control"));
    control.value = "fixed";
    app.canvas.ds.scale = 0.85;
    app.canvas.ds.offset = [80, 40];
    app.canvas.setDirty(true, true);
}"""
BLUEPRINT = """async ([script, command]) => {
    const [node] = app.graph._nodes;
    node.widgets.find((widget) => widget.name === "script").value = script;
    app.canvas.select(node);
    await app.extensionManager.command.execute(command);
}"""
NODES_TWO = """async () => {
    const set = (id, value) => app.extensionManager.setting.set(id, value);
    await set("Comfy.VueNodes.Enabled", true);
    await set("Comfy.ColorPalette", "light");
    await set("Comfy.Locale", "zh");
}"""
ROWS = """() => [...document.querySelectorAll(".sm-editor li[data-id]")].map((row) => ({
    label: row.dataset.label,
    state: row.dataset.state,
    name: row.getAttribute("aria-label"),
    prompt: row.querySelector("[data-field=prompt]").value,
    cut: row.querySelector("[data-field=cut]").checked,
    picture: row.querySelector("img").getAttribute("src") ?? "",
}))"""
FOCUSED = """() => ({
    act: document.activeElement.dataset.act ?? "",
    field: document.activeElement.dataset.field ?? "",
    row: document.activeElement.closest("li[data-id]")?.dataset.label ?? "",
    name: document.activeElement.getAttribute("aria-label") || document.activeElement.textContent,
    tag: document.activeElement.tagName,
})"""


class StoryPage:
    """The page with a loop of quick shots in it, and the log of the shots that were made."""

    def __init__(self, server, page, log: Path):
        self.server, self.page, self.log = server, page, log
        self.errors = collect_errors(page)
        self.questions: list[str] = []
        page.on("dialog", self._answer)

    def _answer(self, dialog) -> None:
        self.questions.append(dialog.message)
        dialog.accept()

    def load(
        self,
        script=None,
        *,
        shots=4,
        file="none",
        seconds=0.0,
        prefix="page",
        is_held=False,
        **body,
    ):
        """Load a graph around a script; its shots are made quickly, or in ``seconds``.

        Args:
            is_held: a run that is held back, see ``loop_graphs.hold``, stays so.
        """
        text = story(shots) if script is None else script
        graph = loop_graph(text, self.log, prefix=prefix, body={"seconds": seconds, **body})
        graph["story"]["inputs"]["file"] = file
        numbers = dict(zip(("story", "open", "body", "close"), PLACES, strict=True))
        api = {numbers[name]: graph[name] for name in numbers}
        for node in api.values():
            for name, value in node["inputs"].items():
                if isinstance(value, list):
                    node["inputs"][name] = [numbers[value[0]], value[1]]
        self.page.evaluate("(g) => app.loadApiJson(g, 'story')", api)
        self.page.wait_for_function("app.graph._nodes.length === 4")
        self.page.evaluate(ARRANGE, PLACES)
        if is_held:
            return
        self.log.unlink(missing_ok=True)
        release(self.log)

    def open_blueprint(self, script: str, command: str) -> None:
        """The shipped blueprint around a script, selected, and a command of the host on it."""
        file = PACK / "subgraphs" / "StoryMem Story.json"
        blueprint = json.loads(file.read_text(encoding="utf-8"))
        self.page.evaluate("(workflow) => app.loadGraphData(workflow)", blueprint)
        self.page.evaluate(BLUEPRINT, [script, command])

    def reload(self) -> None:
        self.page.reload()
        wait_until_ready(self.page)
        self.page.wait_for_function("app.graph._nodes.length === 4")

    def use_nodes_two_in_chinese_and_light(self) -> None:
        """Settings of the user; the page takes all of them up when it is loaded again."""
        self.page.evaluate(NODES_TWO)

    # --- queueing ---

    def queue(self) -> str:
        """Queue as the artist does; the prompt's id."""
        known = set(self.prompts())
        hear_ends(self.page)
        self.page.evaluate("() => app.queuePrompt(0)")
        (prompt_id,) = eventually(self.page, lambda: set(self.prompts()) - known)
        return prompt_id

    def prompts(self) -> list[str]:
        queue = self.server.get("/queue")
        entries = [*queue["queue_running"], *queue["queue_pending"]]
        return [*(self.server.get("/history") or {}), *(entry[1] for entry in entries)]

    def wait(self, prompt_id: str) -> dict:
        """Wait until a prompt ended and the page shows what it told; its history entry."""
        entry = self.server.wait(prompt_id)
        wait_for_end(self.page, prompt_id)
        return entry

    def run(self) -> list[int]:
        """Queue and wait; the shots that were made."""
        entry = self.wait(self.queue())
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
        return ran(self.log)

    # --- the node and the editor ---

    def widget(self, name: str) -> str:
        return self.page.evaluate(
            "(name) => app.graph.getNodeById(1).widgets.find((w) => w.name === name).value", name
        )

    def on_node(self) -> list[str]:
        """The states that the list on Load Story shows."""
        return self.page.evaluate(
            "() => [...document.querySelectorAll('.sm-list > li')].map((row) => row.dataset.state)"
        )

    def wait_on_node(self, states: list[str], timeout: int | None = None) -> None:
        try:
            self.page.wait_for_function(
                "(states) => [...document.querySelectorAll('.sm-list > li')]"
                ".map((row) => row.dataset.state).join() === states",
                arg=",".join(states),
                timeout=timeout,
            )
        except Exception as error:
            raise AssertionError(f"the node shows {self.on_node()}, not {states}") from error

    def edit(self) -> None:
        """Open the editor by the keyboard."""
        button = self.page.locator(".sm-edit")
        button.wait_for()  # what the canvas has not drawn yet takes no keyboard
        button.focus()
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("dialog.sm-editor[open]")

    def edit_table(self) -> None:
        self.edit()
        self.page.wait_for_selector(".sm-shots:not([aria-busy]) > li[data-id]")

    def open_more(self, label: str = "01_01") -> None:
        """Open the further fields of a row. While the plan's line comes, the row grows, and on a
        busy machine a click can end beside the button it began on."""
        more = self.page.locator(f".sm-editor [data-label='{label}'] [data-act=more]")
        for _ in range(5):
            more.click()
            settle(self.page)
            if more.get_attribute("aria-expanded") == "true":
                return
        raise AssertionError(f"the row {label} does not open")

    def rows(self) -> list[dict]:
        return self.page.evaluate(ROWS)

    def column(self, name: str) -> list:
        return [row[name] for row in self.rows()]

    def focused(self) -> dict:
        return self.page.evaluate(FOCUSED)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, *, presses=400, **wanted) -> None:
        """Press Tab until the wanted control has the keyboard."""
        for _ in range(presses):
            found = self.focused()
            if all(found[key] == value for key, value in wanted.items()):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab never came to {wanted}")

    def message(self) -> str:
        return self.page.locator(".sm-message").text_content()

    def wait_for_message(self, words: str) -> None:
        self.page.wait_for_function(
            "(words) => document.querySelector('.sm-message')?.textContent.includes(words)",
            arg=words,
        )

    def save(self) -> None:
        self.page.keyboard.press("Control+s")
        self.page.wait_for_selector("dialog.sm-editor", state="detached")

    def close(self) -> None:
        self.page.keyboard.press("Escape")
        self.page.wait_for_selector("dialog.sm-editor", state="detached")

    def close_all(self) -> None:
        """Take away what a failed test left open."""
        self.page.evaluate(
            "() => document.querySelectorAll('dialog[class^=sm-]').forEach((one) => one.remove())"
        )

    def script(self) -> dict:
        return json.loads(self.widget("script"))


@contextmanager
def story_server(base: Path, base_folder: Path):
    """A server of several users in an empty folder; the pack's folder has another name there."""
    for name in ("models", "input", "output", "temp", "custom_nodes", "user"):
        (base / name).mkdir(parents=True)
    for source, name in (("ComfyUI-StoryMem", "renamed"), ("storymem-test-nodes",) * 2):
        (base / "custom_nodes" / name).symlink_to((base_folder / "custom_nodes" / source).resolve())
    (base / "input" / "Filed.txt").write_text("from a file\n---\n[continue]\nits second shot")
    running = Server(base, "--disable-api-nodes", "--multi-user").start()
    yield running
    running.stop()


@contextmanager
def open_story_page(server, log: Path, *, user: str, **options):
    """The page of a new user of the server."""
    known = server.post("/users", {"username": user})
    folder = server.base / "user" / known
    folder.mkdir(exist_ok=True)
    (folder / "comfy.settings.json").write_text(json.dumps(SETTINGS))
    size = {"width": 1500, "height": 950} | options
    with open_page(server.port, user=known, **size) as page:
        yield StoryPage(server, page, log)


def look(page: StoryPage, name: str) -> None:
    """Take a picture of the page, where somebody wants to look at it."""
    if folder := os.environ.get("STORYMEM_SCREENSHOTS"):
        page.page.wait_for_timeout(500)
        page.page.screenshot(path=str(Path(folder) / f"{name}.png"))
