"""Load Embedder and Load Scorer in a real host: local files, missing files, the explicit switch."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.keyframe_graphs import clip_of, detailed, filter_by, node, record, scorer, select

open_clip = pytest.importorskip("open_clip")


@pytest.fixture
def models(host):
    """The host's model folders for CLIP and scorers, emptied before and after."""
    import folder_paths

    folders = {name: host.base / "models" / name for name in ("clip_vision", "aesthetics")}

    def empty():
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
            for file in folder.iterdir():
                file.unlink()
        folder_paths.filename_list_cache.clear()
        host.restart()

    empty()
    yield folders
    empty()


def small_clip(layers=2, width=128, features=64, patch=32) -> dict[str, torch.Tensor]:
    """An open_clip model of a ViT with random weights, small but for its declared sizes."""
    torch.manual_seed(0)
    model = open_clip.model.CLIP(
        features,
        open_clip.CLIPVisionCfg(layers=layers, width=width, patch_size=patch, image_size=224),
        open_clip.CLIPTextCfg(context_length=8, vocab_size=32, width=64, heads=1, layers=1),
        quick_gelu=True,
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def embedder(kind="clip", **inputs) -> dict:
    return node("StoryMemLoadEmbedder", embedder=kind, **({"clip_name": "auto"} | inputs))


def is_on_cpu() -> bool:
    import comfy.model_management

    return comfy.model_management.get_torch_device().type == "cpu"


def embed_graph(**inputs) -> dict:
    return {
        "one": clip_of("one"),
        "embedder": embedder(**inputs),
        "select": select(["one", 0], embedder=["embedder", 0]),
        "r": record(["select", 0], "keyframes"),
        "e": record(["embedder", 0], "embedder"),
    }


def test_a_clip_file_in_the_models_folder_selects_keyframes(host, clips, models, caplog):
    model = small_clip()
    save_file(model.state_dict(), models["clip_vision"] / "ViT-B-32-small.safetensors")
    clips["one"] = torch.cat([detailed(1, 3), detailed(2, 3)])
    with caplog.at_level(logging.WARNING):
        values = host.run(embed_graph())
    assert values["keyframes"].decision.embedder == values["embedder"].name
    # Another CLIP than ViT-B/32: said plainly.
    assert "CLIP ViT-128x2/32" in caplog.text
    assert "0.9 is calibrated for CLIP ViT-B/32" in caplog.text
    frames = (clips["one"] * 255).round().to(torch.uint8)[:2]
    squashed = host.pack("storymem.models.clip_vision").squashed(frames, 224)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.encode_image(squashed), dim=-1)
    # The host's classes beside open_clip's (measured: 1e-7).
    assert (values["embedder"].embed(frames) - expected).abs().max() < 1e-6


def test_extra_model_paths_are_searched(host, clips, models, tmp_path):
    import folder_paths

    save_file(small_clip().state_dict(), tmp_path / "elsewhere_vit_b_32.safetensors")
    paths = folder_paths.folder_names_and_paths["clip_vision"][0]
    paths.append(str(tmp_path))
    try:
        clips["one"] = detailed(1, 4)
        assert len(host.run(embed_graph())["keyframes"].frames) == 1
    finally:
        paths.remove(str(tmp_path))


def test_a_missing_clip_names_the_file_the_folder_and_the_page(host, clips, models):
    clips["one"] = detailed(1, 3)
    with pytest.raises(RuntimeError) as error:
        host.run(embed_graph())
    text = str(error.value)
    assert "ViT-B-32.pt" in text
    assert "was not found in models/clip_vision" in text
    assert str(models["clip_vision"]) not in text
    assert "https://github.com/openai/CLIP" in text
    assert list(models["clip_vision"].iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "file", "page"),
    [
        ("hpsv3", "HPSv3.safetensors", "https://huggingface.co/MizzenAI/HPSv3"),
        (
            "laion",
            "sac+logos+ava1-l14-linearMSE.pth",
            "https://github.com/christophschuhmann/improved-aesthetic-predictor",
        ),
    ],
)
def test_a_missing_scorer_names_the_file_the_folder_and_the_page(host, models, kind, file, page):
    with pytest.raises(RuntimeError) as error:
        host.run({"s": scorer(kind), "r": record(["s", 0], "scorer")})
    for part in (file, "was not found in models/aesthetics", page):
        assert part in str(error.value)


def test_the_laion_scorer_works_from_local_files(host, clips, models):
    clip, head = small_clip(patch=14, features=768), torch.nn.Linear(768, 1)
    save_file(clip.state_dict(), models["clip_vision"] / "clip-vit-large-patch14.safetensors")
    save_file(head.state_dict(), models["aesthetics"] / "sa_0_4_vit_l_14_linear.safetensors")
    clips["one"] = torch.cat([detailed(1, 2), detailed(2, 2)])
    values = host.run(
        {
            "one": clip_of("one"),
            "s": scorer("laion", laion_threshold=0.0),
            "f": filter_by(["s", 0], images=["one", 0], own=False, threshold=-100.0),
            "r": record(["f", 0], "keyframes"),
            "s2": record(["s", 0], "scorer"),
        }
    )
    kept = values["keyframes"].frames
    assert [frame.scorer for frame in kept] == ["laion"] * 4
    assert values["scorer"].threshold == 0.0
    small = host.pack("storymem.selection.preprocess").selection_frame(kept[0].image)[None]
    with torch.inference_mode():
        features = clip.encode_image(host.pack("storymem.models.clip_vision").cropped(small, 224))
        expected = head(torch.nn.functional.normalize(features, dim=-1))
    assert kept[0].score == pytest.approx(float(expected), abs=1e-5)


def load_golden_tests():
    """The golden case's weights and images, which the fast suite's test of HPSv3 holds."""
    path = Path(__file__).resolve().parents[2] / "models" / "test_hpsv3.py"
    spec = importlib.util.spec_from_file_location("hpsv3_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hpsv3_runs_under_the_hosts_model_management(host, clips, models, monkeypatch, golden):
    """The tiny golden model through the nodes: same scores, host's linear layers, in bf16 too."""
    golden_tests = load_golden_tests()
    save_file(golden_tests.tiny_weights(), models["aesthetics"] / "HPSv3.safetensors")
    library = host.pack("storymem.models.hpsv3")
    tiny = library.Hpsv3Shape(head_dim=16, vision_heads=2)
    monkeypatch.setattr(library, "Hpsv3Shape", lambda: tiny)
    recorded = golden("hpsv3.json")["fp32"]
    image = torch.from_numpy(golden_tests.case.image(*golden_tests.case.IMAGES[0]))
    clips["one"] = image[None].repeat(3, 1, 1, 1).float() / 255
    scores = {}
    for precision in ("fp32", "bf16"):
        values = host.run(
            {
                "one": clip_of("one"),
                "s": scorer("hpsv3", precision=precision),
                "select": select(["one", 0], scorer=["s", 0]),
                "r": record(["select", 0], "keyframes"),
                "s2": record(["s", 0], "scorer"),
            }
        )
        (frame,) = values["keyframes"].frames
        assert frame.scorer == "hpsv3"
        scores[precision] = frame.score
    assert scores["fp32"] == pytest.approx(recorded[0][0], abs=1e-4)
    assert scores["bf16"] == pytest.approx(recorded[0][0], abs=0.5)
    assert scores["bf16"] != scores["fp32"]
    import comfy.model_management

    model = values["scorer"]._run
    known = any(m.model is model._patcher for m in comfy.model_management.current_loaded_models)
    assert known == is_on_cpu(), "it leaves a graphics card as soon as the frames are chosen"
    kinds = {
        type(part).__module__ for part in model.module.modules() if hasattr(part, "in_features")
    }
    assert kinds == {"comfy.ops"}


def test_hpsv3_with_only_part_of_its_weights_loaded_gives_the_same_score(host, tmp_path):
    """On a card that HPSv3 does not fit into, the host lends the rest of it layer by layer."""
    golden_tests = load_golden_tests()
    save_file(golden_tests.tiny_weights(), tmp_path / "HPSv3.safetensors")
    library, node_module = host.pack("storymem.models.hpsv3"), host.pack("nodes.memory.scorers")
    tiny = library.Hpsv3Shape(head_dim=16, vision_heads=2)
    image = torch.from_numpy(golden_tests.case.image(*golden_tests.case.IMAGES[0]))[None]

    def build():
        path = tmp_path / "HPSv3.safetensors"
        return node_module.hostable(library.load_hpsv3(path, dtype=torch.float32, shape=tiny))

    whole = library.Hpsv3Scorer(host.pack("nodes.host.models").HostModel(build, working_memory=1))
    expected = whole.score(image)
    model = build()
    import comfy.model_patcher

    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
    patcher.load(cpu, lowvram_model_memory=1)
    lent = [part for part in model.modules() if getattr(part, "comfy_cast_weights", False)]
    kinds = {type(part).__name__ for part in lent}
    assert kinds == {"Linear", "Conv3d", "LayerNorm", "Embedding"}
    with torch.inference_mode():
        score = library.Hpsv3Scorer(model).score(image)
    assert score == (expected if is_on_cpu() else pytest.approx(expected, abs=1e-4))


def an_input(part) -> torch.Tensor | None:
    """Something on another device for a layer to compute with; ``None`` for other modules."""
    match type(part).__name__:
        case "Linear":
            return torch.empty(2, part.in_features, device="meta")
        case "Conv3d":
            return torch.empty(1, part.in_channels, *part.kernel_size, device="meta")
        case "LayerNorm":
            return torch.empty(2, *part.normalized_shape, device="meta")
        case "Embedding":
            return torch.empty(2, dtype=torch.long, device="meta")


def test_hpsv3_with_weights_left_behind_computes_on_the_device(host, tmp_path):
    """The meta device stands for a card: some layers refuse weights of another device there."""
    golden_tests = load_golden_tests()
    save_file(golden_tests.tiny_weights(), tmp_path / "HPSv3.safetensors")
    library, node_module = host.pack("storymem.models.hpsv3"), host.pack("nodes.memory.scorers")
    tiny = library.Hpsv3Shape(head_dim=16, vision_heads=2)
    model = library.load_hpsv3(tmp_path / "HPSv3.safetensors", dtype=torch.float32, shape=tiny)
    layers = [part for part in model.modules() if an_input(part) is not None]
    assert {type(part) for part in layers} == set(node_module.HOST_CLASSES)
    with torch.inference_mode():
        with pytest.raises(RuntimeError, match="device"):
            model.visual.merger.ln_q(an_input(model.visual.merger.ln_q))
        node_module.hostable(model)
        host.pack("nodes.host.models").bring_the_rest(model, torch.device("meta"))
        for part in model.modules():
            if part in layers:
                assert part.weight.device.type == "cpu"
                assert part(an_input(part)).device.type == "meta", type(part)
            else:
                rest = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
                assert all(tensor.device.type == "meta" for tensor in rest), type(part)


def test_release_takes_only_our_model_off_the_device(host, monkeypatch):
    host_models = host.pack("nodes.host.models")
    model = host_models.HostModel(lambda: torch.nn.Linear(2, 2), working_memory=1)
    model(torch.zeros(1, 2))
    calls = []
    monkeypatch.setattr(model._patcher, "load_device", torch.device("cuda", 0))
    monkeypatch.setattr(
        host_models.management,
        "free_memory",
        lambda memory, device, keep_loaded=(): calls.append((device, keep_loaded)),
    )
    model.release()
    ((device, kept),) = calls
    assert device == torch.device("cuda", 0)
    assert model._patcher not in [loaded.model for loaded in kept]
    assert len(kept) == len(host_models.management.current_loaded_models) - 1


def build_small():
    return torch.nn.Linear(2, 2)


def build_nothing():
    raise ValueError("broken")


@pytest.mark.parametrize("build", [build_small, build_nothing])
def test_a_node_is_shown_as_loading_only_while_weights_are_read(host, monkeypatch, build):
    from comfy_execution import progress
    from comfy_execution.utils import CurrentNodeContext

    told = []
    monkeypatch.setattr(
        progress.ProgressRegistry,
        "set_activity",
        lambda self, node_id, activity: told.append((node_id, activity)),
        raising=False,
    )

    def watched():
        assert told == [("7", "loading")]
        return build()

    model = host.pack("nodes.host.models").HostModel(watched, working_memory=1)
    with CurrentNodeContext("a prompt", "7"):
        if build is build_small:
            model(torch.zeros(1, 2))
            model(torch.zeros(1, 2))
        else:
            with pytest.raises(ValueError, match="broken"):
                model(torch.zeros(1, 2))
    assert told == [("7", "loading"), ("7", None)]


def test_weights_are_read_where_the_page_cannot_be_told_of_it(host, monkeypatch):
    from comfy_execution import progress
    from comfy_execution.utils import CurrentNodeContext

    models = host.pack("nodes.host.models")
    assert models.HostModel(build_small, working_memory=1).module is not None  # no node runs
    monkeypatch.delattr(progress.ProgressRegistry, "set_activity", raising=False)
    with CurrentNodeContext("a prompt", "7"):
        assert models.HostModel(build_small, working_memory=1).module is not None

    def refuse(*_):
        raise KeyError("of another host")

    monkeypatch.setattr(progress.ProgressRegistry, "set_activity", refuse, raising=False)
    with CurrentNodeContext("a prompt", "7"):
        assert models.HostModel(build_small, working_memory=1).module is not None


def test_models_are_released_even_when_the_selection_fails(host, clips):
    """The memory must be free before sampling starts, whatever happened."""
    released = []

    class Failing(host.pack("storymem.memory.embedders").Embedder):
        name = "failing"

        def _embed(self, frames):
            raise ValueError("it broke")

    clips["one"] = detailed(1, 4)
    clips["embedder"] = Failing(lambda: released.append(True))
    graph = {
        "one": clip_of("one"),
        "embedder": node("StoryMemTestClip", name="embedder"),
        "select": select(["one", 0], embedder=["embedder", 2]),
        "r": record(["select", 0], "x"),
    }
    with pytest.raises(RuntimeError, match="it broke"):
        host.run(graph)
    assert released == [True]


# --- the explicit switch ---


@pytest.fixture
def web(tmp_path):
    """A web server with one folder, and what was asked of it."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path, asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_switch_fetches_the_missing_file_once(host, clips, models, web, monkeypatch):
    address, folder, asked = web
    torch.save(small_clip().state_dict(), folder / "served.pt")
    digest = hashlib.sha256((folder / "served.pt").read_bytes()).hexdigest()
    module = host.pack("nodes.memory.embedders")
    source = replace(module.CLIP_B32, url=f"{address}/served.pt", sha256=digest)
    monkeypatch.setattr(module, "CLIP_B32", source)
    clips["one"] = detailed(1, 4)
    with pytest.raises(RuntimeError, match="switch download on"):
        host.run(embed_graph())
    assert asked == [], "nothing is fetched unasked"
    assert len(host.run(embed_graph(download=True))["keyframes"].frames) == 1
    assert (models["clip_vision"] / "ViT-B-32.pt").is_file()
    host.restart()
    host.run(embed_graph(download=True))
    assert asked == ["/served.pt"]


def test_a_file_that_is_not_the_published_one_is_not_kept(host, models, web):
    address, folder, _ = web
    (folder / "served.pt").write_bytes(b"something else")
    weights = host.pack("storymem.models.weights")
    source = replace(weights.CLIP_B32, url=f"{address}/served.pt")
    with pytest.raises(ValueError, match="SHA-256 is not the published one"):
        weights.download(source, models["clip_vision"])
    assert list(models["clip_vision"].iterdir()) == []


def test_a_page_that_is_not_there_is_a_clear_error(host, models, web):
    address, _, _ = web
    weights = host.pack("storymem.models.weights")
    source = replace(weights.LAION_HEAD, url=f"{address}/nowhere.pth")
    with pytest.raises(ValueError, match=r"could not be downloaded from .*nowhere\.pth"):
        weights.download(source, models["aesthetics"])
    assert list(models["aesthetics"].iterdir()) == []
