"""The baselines' graphs in the host's own page, with the tiny model in place of Wan2.2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.browser import find_chromium, load_workflow, open_page
from helpers.host_server import Server

pytest.importorskip("diffusers")

from storymem.film.finished_story import open_film, watch
from storymem.tiny import demo, files
from storymem.tiny.film_features import TinyWorld, keeps_look
from storymem.tiny.lab import scripts

PACK = Path(__file__).resolve().parents[3]
SHOTS, STEPS, LENGTH = 4, 4, 9
TAKE_TINY_MODEL = """([script, values, files]) => {
    const graph = window.app.graph;
    const all = (type) => graph._nodes.filter((node) => node.type === type);
    const set = (node, values) => {
        for (const widget of node.widgets) {
            if (widget.name in values) widget.value = values[widget.name];
        }
    };
    const [open] = all("StoryMemShotLoopOpen");
    const [sampler] = all("StoryMemM2VSampler");
    const words = window.LiteGraph.createNode("StoryMemTinyTextEncoder");
    graph.add(words);
    const link = (from, output, to, input) => from.connect(
        from.findOutputSlot(output), to, to.findInputSlot(input));
    link(open, "prompt", words, "prompt");
    link(open, "negative", words, "negative_prompt");
    link(words, "positive", sampler, "positive");
    link(words, "negative", sampler, "negative");
    for (const name of ["t2v_high", "t2v_low"]) {  // it has one pair of experts, I2V
        const slot = sampler.findInputSlot(name);
        if (slot >= 0 && sampler.inputs[slot].link != null) sampler.disconnectInput(slot);
    }
    [...all("CLIPTextEncode"), ...all("CLIPLoader")].forEach((node) => graph.remove(node));
    all("UNETLoader").filter((node) => !node.outputs[0].links?.length)
        .forEach((node) => graph.remove(node));
    all("UNETLoader").forEach((node) => set(node, {unet_name: files.diffusion_models}));
    all("VAELoader").forEach((node) => set(node, {vae_name: files.vae}));
    all("StoryMemLoadStory").forEach((node) => set(node, {script}));
    all("StoryMemShotLoopOpen").forEach((node) => set(node, {negative: ""}));
    set(sampler, values);
}"""
pytestmark = [
    pytest.mark.http,
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: no page to look at"),
    pytest.mark.skipif(files.find("diffusion_models") is None, reason="no tiny weights"),
]


@pytest.fixture(scope="module")
def tale(tmp_path_factory) -> Path:
    """A story, and key images that the world draws itself."""
    folder = tmp_path_factory.mktemp("tale")
    scripts.write_stories(folder, 1, shots=SHOTS)
    return folder


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host, tale):
    base = tmp_path_factory.mktemp("baselines_server")
    for folder in ("input", "output", "temp", "user", "models"):
        (base / folder).mkdir()
    (base / "custom_nodes").symlink_to(base_folder / "custom_nodes")
    shutil.copytree(tale / "start_images" / "story_01", base / "input" / "start_images")
    running = Server(base, "--disable-api-nodes").start()
    running.post("/settings", {"Comfy.TutorialCompleted": True})
    yield running
    running.stop()


def film_of(server: Server, tale: Path, name: str):
    """Open the shipped file, take the tiny model, press Run."""
    workflow = json.loads((PACK / "workflows" / "baselines" / f"{name}.json").read_text())
    recipe = {
        "width": demo.SIZE,
        "height": demo.SIZE,
        "length": LENGTH,
        "steps": STEPS,
        "cfg": demo.RECIPE["cfg"],
        "shift": demo.RECIPE["shift"],
        "sampler_name": demo.RECIPE["sampler"],
        "scheduler": "simple",
    }
    script = (tale / "scripts" / "story_01.json").read_text()
    with open_page(server.port) as page:
        missing = set(load_workflow(page, workflow)["missing"])
        assert missing <= {"UNETLoader", "CLIPLoader", "VAELoader"}, "only the files are missing"
        page.evaluate(TAKE_TINY_MODEL, [script, recipe, files.FILES])
        if page.locator(".p-dialog").count():  # of older front ends: which models are missing
            page.keyboard.press("Escape")
        page.get_by_role("button", name="Run", exact=True).first.click()
        page.wait_for_function("window.app.ui.lastQueueSize > 0")
    # Nobody looks at the page while the film is made, so it need not be drawn.
    for prompt_id in iter(lambda: queued(server), None):
        assert server.wait(prompt_id, 600)["status"]["status_str"] == "success", server.log()
    return open_film(server.base / "output" / name / "story_01")


def queued(server: Server) -> str | None:
    """The prompt that runs, or waits."""
    queue = server.get("/queue")
    waiting = [*queue["queue_running"], *queue["queue_pending"]]
    return waiting[0][1] if waiting else None


def frames_of(shot) -> np.ndarray:
    return np.stack([frame for _, frame in watch(shot.path, lambda _: True, shot.frames - 1)])


@pytest.fixture(scope="module")
def eyes() -> TinyWorld:
    return TinyWorld()


def looks_kept(film, eyes) -> float:
    prompts = [shot.prompt for shot in film.shots]
    clips = np.stack([eyes.video(list(frames_of(shot)[::2][:8])) for shot in film.shots])
    return float(np.mean(keeps_look(prompts, clips)))


def test_key_images_begin_their_shots_and_carry_the_looks(server, tale, eyes):
    from PIL import Image

    film = film_of(server, tale, "two_stage")
    assert [shot.frames for shot in film.shots] == [LENGTH] * SHOTS
    for shot in film.shots:
        path = tale / "start_images" / "story_01" / f"shot_{shot.label}.png"
        key = torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32))
        first = torch.from_numpy(frames_of(shot)[0].astype(np.float32))
        assert (first - key).abs().mean() < 4, shot.label  # of 255
    assert looks_kept(film, eyes) > 0.7


def test_without_memory_looks_are_lost(server, tale, eyes):
    film = film_of(server, tale, "wan")
    assert [shot.frames for shot in film.shots] == [LENGTH] * SHOTS
    assert looks_kept(film, eyes) < 0.5
