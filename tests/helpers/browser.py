"""ComfyUI's own page in headless Chromium, driven by playwright."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 180  # seconds for what the page does in one, where nothing else runs
HOST_ERRORS = ("getCanvas: canvas is null",)  # ComfyUI 0.18's page, while a busy machine loads it
TOASTS = ".p-toast-message, [data-testid=toast]"  # the second since front end 1.58
LOAD_AND_READ = """async (workflow) => {
    await window.app.loadGraphData(workflow);
    const known = window.LiteGraph.registered_node_types;
    const nodes = window.app.graph._nodes;
    const prompt = await window.app.graphToPrompt();
    return {
        missing: nodes.filter((n) => !known[n.type] || n.has_errors).map((n) => n.type),
        nodes: nodes.length,
        links: window.app.graph.links.size ?? Object.keys(window.app.graph.links).length,
        prompt: prompt.output,
        boxes: nodes.map((n) => ({
            title: n.title,
            box: [n.pos[0], n.pos[1] - 30, n.size[0], n.size[1] + 30],
        })),
    };
}"""
HEAR = """async () => {
    const { api } = await import("/scripts/api.js");
    if (window.ended) return;
    window.ended = new Set();
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
        api.addEventListener(end, ({ detail }) => window.ended.add(detail.prompt_id));
    }
}"""
SHOW_ALL = """() => {
    const nodes = window.app.graph._nodes;
    const left = Math.min(...nodes.map((n) => n.pos[0]));
    const top = Math.min(...nodes.map((n) => n.pos[1])) - 80;
    const right = Math.max(...nodes.map((n) => n.pos[0] + n.size[0]));
    const bottom = Math.max(...nodes.map((n) => n.pos[1] + n.size[1]));
    const view = window.app.canvas;
    const scale = Math.min(0.92 * innerWidth / (right - left), 0.85 * innerHeight / (bottom - top));
    view.ds.scale = scale;
    view.ds.offset = [-left + 80 / scale, -top + 70 / scale];
    view.setDirty(true, true);
}"""


def find_chromium() -> str | None:
    """The browser to drive: CHROMIUM, else what is on the PATH."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def open_page(
    port: int,
    *,
    width: int = 2200,
    height: int = 1250,
    user: str = "",
    machine: str = "127.0.0.1",
):
    """The front end of the server at ``port``, once its graph is ready.

    Args:
        user: id of the user who opens it, for a server with ``--multi-user``.
        machine: what the browser knows the server's machine as.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=find_chromium(),
            timeout=1000 * PATIENCE,
            args=[*FLAGS, f"--host-resolver-rules=MAP {machine} 127.0.0.1"],
        )
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(1000 * PATIENCE)
        if user:
            page.add_init_script(f"localStorage['Comfy.userId'] = {json.dumps(user)}")
        page.goto(f"http://{machine}:{port}/")
        wait_until_ready(page)
        yield page
        browser.close()


def collect_errors(page) -> list[str]:
    """A list that fills with the page's errors, but not with those that the host is known for."""
    errors: list[str] = []

    def take(error) -> None:
        if str(error) not in HOST_ERRORS:
            errors.append(str(error))

    page.on("pageerror", take)
    return errors


def eventually(page, look_up, seconds: float = PATIENCE):
    """What ``look_up`` gives once it gives something true; in the end what it gives then.

    The page must go on meanwhile, and a busy machine may take long: ``assert eventually(...)``.
    """
    deadline = time.monotonic() + seconds
    while not (found := look_up()) and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    return found


def settle(page) -> None:
    """Wait until the page has drawn what it was told: it draws in its next frame."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def hear_ends(page) -> None:
    """From now on the page keeps which prompts it heard the end of; see ``wait_for_end``."""
    page.evaluate(HEAR)


def wait_for_end(page, prompt_id: str) -> None:
    """Wait until the page has heard, and drawn, all that a prompt told it.

    One that was loaded again since ``hear_ends`` keeps no ends, and is not waited for.
    """
    page.wait_for_function("(id) => !window.ended || window.ended.has(id)", arg=prompt_id)
    settle(page)


def wait_for_text(page, locator, text: str) -> None:
    """Wait until the first element of ``locator`` shows this text; the error says what it shows."""
    if not eventually(page, lambda: text in locator.first.inner_text()):
        raise AssertionError(f"{text!r} is not in {locator.first.inner_text()!r}")


def wait_for_draft(page, text: str) -> None:
    """Wait until the host has kept the workflow in the browser, as it does soon after a change.

    ``text`` is something of the workflow's JSON that an earlier draft does not have.
    """
    page.wait_for_function(
        r"""(text) => [localStorage, sessionStorage].flatMap((kept) => Object.values(kept))
            .some((value) => value.replaceAll("\\", "").includes(text))""",
        arg=text,
    )


def wait_until_ready(page) -> None:
    """Wait for the front end's first workflow, after opening or reloading it.

    Before that it would put its own in the place of what a test loads.
    """
    page.wait_for_function("window.app && window.app.extensionManager")
    page.wait_for_function(
        "Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100"
    )
    page.wait_for_function("app.extensionManager.workflow?.activeWorkflow")


def load_workflow(page, workflow: dict) -> dict:
    """Load a workflow file's content; what the front end made of it (see LOAD_AND_READ)."""
    return page.evaluate(LOAD_AND_READ, workflow)
