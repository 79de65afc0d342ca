"""Takes pictures of the editor's dialogs for the docs: ``make_screenshots.py FOLDER [light]``.

The shipped story of the tiny model is made, one of its shots twice; then the takes, the memory of a
shot and the plan of the next run are looked at. Takes a few minutes on two cores.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

PACK = Path(__file__).resolve().parents[2]
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(PACK), str(PACK / "tests")]

from helpers.browser import eventually, load_workflow, open_page  # noqa: E402
from helpers.gallery_page import prepare_base  # noqa: E402
from helpers.host_server import make_base  # noqa: E402
from helpers.server_base import serving  # noqa: E402
from helpers.tiny_page import TinyPage  # noqa: E402

SIZE = {"width": 1120, "height": 760}
COLOURS = 128
THEME = "(name) => app.extensionManager.setting.set('Comfy.ColorPalette', name)"
LOAD_STORY = """() => {
    app.canvas.ds.scale = 0.8;
    app.canvas.ds.offset = [-320, 80];
    app.canvas.setDirty(true, true);
}"""
READY = "() => [...document.images].filter((i) => i.checkVisibility()).every((i) => i.complete)"
PLAYS = """() => [...document.querySelectorAll(".sm-takes video")]
    .every((video) => video.readyState >= 2)"""


def main(folder: Path, theme: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        base_folder = make_base(Path(temporary, "shared"))
        base = prepare_base(Path(temporary, "own"), base_folder, folder="ComfyUI-StoryMem")
        with (
            serving(base, "--disable-api-nodes") as server,
            open_page(server.port, **SIZE) as page,
        ):
            page.evaluate(THEME, theme)
            take_pictures(TinyPage(server, page, Path(temporary, "log")), folder, theme)


def take_pictures(tiny: TinyPage, folder: Path, theme: str) -> None:
    page = tiny.page
    load_workflow(page, json.loads((PACK / "workflows" / "storymem_tiny_cpu.json").read_text()))
    page.evaluate(LOAD_STORY)
    tiny.run()
    tiny.edit_table()
    page.locator("[data-label='01_05'] textarea").first.focus()
    tiny.press("Alt+r")
    tiny.wait_for_message("is rolled again with seed")
    tiny.save()
    tiny.run()

    tiny.edit_table()
    page.locator("[data-label='01_05'] textarea").first.focus()
    tiny.press("Alt+t")
    page.wait_for_selector("dialog.sm-takes[open]")
    page.wait_for_function(PLAYS)
    keep(page, "dialog.sm-takes", folder / f"takes-{theme}.png")
    tiny.press("Escape")

    page.locator("[data-label='01_08'] [data-act='memory']").click()
    seen = page.locator("dialog.storymem-seen")
    assert eventually(page, lambda: "Shot 8 " in seen.inner_text())
    keep(page, "dialog.storymem-seen", folder / f"seen-{theme}.png")
    tiny.press("Escape")

    page.locator("[data-label='01_04'] textarea").first.fill("Fipi circles, beach, still")
    planned = page.locator(".sm-editor .sm-plan-summary")
    assert eventually(page, lambda: "1 shot to make" in planned.inner_text(), 60)
    page.locator(".sm-editor .sm-plan details > summary").click()
    keep(page, "dialog.sm-editor", folder / f"story-editor-{theme}.png")


def keep(page, selector: str, path: Path) -> None:
    """A picture of a dialog, in few colours."""
    page.wait_for_function(READY)
    page.wait_for_timeout(800)  # nothing moves any more
    page.locator(selector).screenshot(path=str(path))
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "light" if "light" in sys.argv[2:] else "dark")
