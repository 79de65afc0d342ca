"""A story on Memento's LoRA without a host: pools, positions in real time, portraits, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from PIL import Image

from helpers import tiny_diffusers
from helpers.keyframe_queries import plain_scores, tiny_query
from storymem import __main__ as program
from storymem.headless import adapters, runner
from storymem.headless.engine import Engine
from storymem.headless.method import method_of_run
from storymem.memory.bank_folder import load_bank
from storymem.sampling.lora import target_modules

FAST = (
    "--embedder no_weights --width 48 --height 32 --length 17 --steps 2 --cfg 2 --cfg-cut 3 "
    "--sampler euler --shift 5 --selection even --device cpu"
)
PROMPT = "global caption: [Person A]: the red dog; shot caption: [Person A] {}"
STORY = {
    "story_overview": "a dog",
    "reconstruct_target": "[Person A] a red dog",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": [PROMPT.format(verb) for verb in ("walks", "runs", "sits", "walks")],
            "cut": [True, False, True, True],
        }
    ],
}


@pytest.fixture(scope="module")
def loras(tmp_path_factory) -> list[Path]:
    """Memento's files for the tiny experts: a small LoRA, and a query of each expert's own."""
    folder = tmp_path_factory.mktemp("memento")
    model = tiny_diffusers.tiny_transformer(1)
    named = dict(model.named_modules())
    paths = []
    for seed, name in enumerate(adapters.LORA_FILES.values()):
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for module in target_modules(len(model.blocks)):
            out, into = named[adapters.to_diffusers_name(module)].weight.shape
            for part, shape in (("A", (2, into)), ("B", (out, 2))):
                numbers = torch.randn(shape, generator=generator) * 0.1 / shape[1] ** 0.5
                state[f"{module}.lora_{part}.weight"] = numbers
        query = tiny_query(seed, width=256)
        state |= {f"keyframe_query.{key}": value for key, value in query.items()}
        paths.append(folder / f"{name}.safetensors")
        save_file(state, str(paths[-1]))
    return paths


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "tale.json"
    path.write_text(json.dumps(STORY))
    return path


def run(script: Path, out: Path, model: Path, *more) -> int:
    arguments = ["run", script, "--out", out, "--model", model, "--quiet", *FAST.split(), *more]
    return program.main([str(argument) for argument in arguments])


class Watch:
    """What was sampled, and what was chosen from, in the order of the shots."""

    def __init__(self, monkeypatch, *, fails_at: int):
        self.shots, self.recipes, self.chosen = [], [], []
        sample, take_part, score = Engine.sample, Engine.take_part, Engine.score_memory

        def watched(engine, kind, inputs, **kwargs):
            self.shots.append(inputs)
            if len(self.shots) == fails_at:
                raise RuntimeError("out of memory")
            return sample(engine, kind, inputs, **kwargs)

        def took_part(engine, kind, inputs, strength, recipe, *args):
            self.recipes.append(recipe)
            return take_part(engine, kind, inputs, strength, recipe, *args)

        def scored(engine, expert, memory, positions, *texts):
            found = score(engine, expert, memory, positions, *texts)
            self.chosen.append((engine, expert, memory, positions, texts, found))
            return found

        monkeypatch.setattr(Engine, "sample", watched)
        monkeypatch.setattr(Engine, "take_part", took_part)
        monkeypatch.setattr(Engine, "score_memory", scored)


@pytest.mark.slow
def test_a_story_is_made_with_a_memory_for_each_expert(
    script, tmp_path, i2v, loras, monkeypatch, caplog
):
    watch, out = Watch(monkeypatch, fails_at=4), tmp_path / "out"
    lora = ("--lora", loras[0].parent, "--reconstruct")
    assert run(script, out, i2v, *lora) == 3
    assert run(script, out, i2v, *lora, "--resume") == 0
    failed, again = watch.shots[3:]  # the last shot is the same from what is on disk
    assert failed.layouts == again.layouts
    for name in ("noise", "condition", "condition_low", "identity", "identity_negative"):
        assert torch.equal(getattr(failed, name), getattr(again, name))
    del watch.shots[4], watch.chosen[4:]

    assert [inputs.memory_frames for inputs in watch.shots] == [1, 9, 9, 9]
    assert [recipe.cfg for recipe in watch.recipes] == [3, 2, 3, 3]
    for inputs in watch.shots:
        assert all(layout.has_identity and layout.method == "memento" for layout in inputs.layouts)
    # The second shot begins at 17: all of the first one's candidates, of which the last is at 16.
    first = [round(i * 16 / 7) // 4 - 4 for i in range(8)]
    assert watch.shots[1].layouts[0].positions == tuple(min(-1, at) for at in first)
    assert watch.shots[1].condition_low is None  # there was room for all
    assert any(inputs.condition_low is not None for inputs in watch.shots[2:])

    assert [one[1] for one in watch.chosen] == ["high", "low"] * 2  # for the last two shots
    for at, (engine, expert, memory, positions, texts, found) in enumerate(watch.chosen):
        which = ("high", "low").index(expert)
        embedder = engine._experts[which].condition_embedder.text_embedder
        embedded = [embedder(engine.text(text))[0].detach() for text in texts]
        assert texts[1] == "[Person A]: the red dog"
        plain = plain_scores(tiny_query(which, width=256), memory, positions, *embedded)
        for ours, theirs in zip((found.local, found.whole_story), plain, strict=True):
            assert ours == pytest.approx(theirs.tolist(), rel=1e-4, abs=1e-4)
        local, whole = plain
        best = sorted(local.argsort()[::-1][:6])
        others = [i for i in whole.argsort()[::-1] if i not in best][:2]
        shot = watch.shots[2 + at // 2]
        seen = sorted(min(-1, positions[i]) for i in (*best, *others))
        assert list(shot.layouts[which].positions) == seen

    bank = load_bank(out / "bank")
    pools = [[f for f in bank.frames if f.pool in ("", name)] for name in ("high", "low")]
    assert [len(pool) for pool in pools] == [16, 16]  # eight chosen, and the last shot's eight
    assert max(frame.moment for frame in bank.frames) == 4 * 17 - 1
    for number in range(1, 5):
        with Image.open(out / f"shot_01_0{number}_identity.png") as portrait:
            assert portrait.size == (48, 32)

    assert run(script, out, i2v, *lora, "--resume") == 0  # and finds all that is finished
    assert len(watch.shots) == 4

    # Without an identity frame it is another film, and has no portraits.
    assert run(script, out, i2v, "--lora", lora[1], "--policy", "entities", "--resume",
               "--end-shot", "1") == 0  # fmt: skip
    assert (watch.shots[4].memory_frames, watch.shots[4].identity) == (0, None)
    assert sorted(path.name for path in out.glob("*_identity.png")) == [
        f"shot_01_0{number}_identity.png" for number in (2, 3, 4)
    ]
    assert "--policy is entities, but Memento's keyframe query chooses" in caplog.text


def test_what_does_not_go_together_is_told_before_the_first_shot(
    script, tmp_path, i2v, loras, monkeypatch, caplog
):
    for name in ("load_experts", "encode_texts"):
        monkeypatch.setattr("storymem.headless.engine." + name, None)
    high, low = loras
    plain = tmp_path / "plain.txt"
    plain.write_text("a red dog walks\n")
    storymem = tmp_path / "storymem.safetensors"
    state = load_file(str(low))
    save_file({k: v for k, v in state.items() if "keyframe_query" not in k}, str(storymem))
    wrong = {
        "LoRAs of two memory models (high: Memento, low: StoryMem)": (
            script, "--lora-high", high, "--lora-low", storymem,
        ),
        "the script has none; write who is in the story there": (
            plain, "--lora-high", high, "--lora-low", low, "--reconstruct",
        ),
        "Memento's identity frame, which StoryMem does not have": (script, "--reconstruct"),
        "--cfg-cut must be 0 or more": (script, "--cfg-cut", "nan"),
    }  # fmt: skip
    for words, (story, *options) in wrong.items():
        caplog.clear()
        assert run(story, tmp_path / "out", i2v, *options) == 2, words
        assert words in caplog.text
    assert not (tmp_path / "out").exists()


def test_several_gpus_cannot_share_an_identity_frame(script, tmp_path, i2v, loras, monkeypatch):
    settings = runner.RunSettings(tmp_path / "out", reconstruct="the red dog")
    files = Engine.__new__(Engine)
    files.lora, files.method = None, lambda: "memento"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several GPUs cannot share"):
        method_of_run(settings, files)
