"""Parentheses in a script reach ComfyUI's text encoders as text, unless weights are wanted."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.loop_graphs import lines_of, loop_graph, ran, story
from storymem.script.prompt_weights import escape_weights, has_weights

# Whatever a script may hold: no NUL, which the host keeps for itself.
LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXTS = st.text(st.one_of(st.sampled_from("()()\\:1. a"), LETTERS), max_size=40)
KINDS = ("clip", "umt5")
pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture(scope="session")
def tokenizers(host) -> dict[str, Callable]:
    """The host's own: CLIP's, and Wan's umT5 around a vocabulary of a few words."""
    import sentencepiece
    import torch
    from comfy import sd1_clip
    from comfy.text_encoders.wan import WanT5Tokenizer

    model = io.BytesIO()
    lines = ["a wide view (aspect ratio 16:9) of the sea", "she smiles :) and \\waves\\", "(((x)))"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20), model_writer=model, vocab_size=330, byte_fallback=True,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    spiece = torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)
    umt5 = WanT5Tokenizer(tokenizer_data={"spiece_model": spiece})
    return {"clip": sd1_clip.SD1Tokenizer(), "umt5": umt5}


def tokens(tokenizer, text: str) -> list[tuple[int, float]]:
    (batches,) = tokenizer.tokenize_with_weights(text).values()
    return [pair for batch in batches for pair in batch]


def as_plain_text(tokenizer, text: str) -> list[tuple[int, float]]:
    """The tokens of a text by the host's tokenizer with its reading of weights switched off."""
    (inner,) = [t for t in vars(tokenizer).values() if hasattr(t, "tokenize_with_weights")]
    plain = text.replace("\\(", "\\\\(").replace("\\)", "\\\\)")  # escapes are undone even then
    return [pair for b in inner.tokenize_with_weights(plain, disable_weights=True) for pair in b]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
@example(text="a wide view (aspect ratio 16:9)")
@example(text="\\(meant\\) \\\\(twice\\\\) ((nested:2)")
@example(text=")(:1.5)")
@example(text="she smiles :)")
@example(text="C:\\films\\(old)\\")
def test_an_escaped_text_is_encoded_as_it_stands(tokenizers, kind, text):
    escaped = tokens(tokenizers[kind], escape_weights(text))
    assert escaped == as_plain_text(tokenizers[kind], text)
    assert {weight for _, weight in escaped} == {1.0}


@settings(max_examples=500, deadline=None)
@given(text=TEXTS)
@example(text="((a)")
@example(text=")(")
@example(text="(")
def test_the_host_reads_one_part_the_whole_text(host, text):
    from comfy import sd1_clip

    def parts(typed: str) -> list[tuple[str, float]]:
        found = sd1_clip.token_weights(sd1_clip.escape_important(typed), 1.0)
        return [(sd1_clip.unescape_important(part), weight) for part, weight in found]

    whole = [(text, 1.0)] if text else []
    assert parts(escape_weights(text)) == whole
    assert has_weights(text) == (parts(text) != whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_host_would_read_weights(tokenizers, kind):
    typed = tokens(tokenizers[kind], "a wide view (aspect ratio 16:9)")
    assert 9.0 in {weight for _, weight in typed}


# --- the nodes -----------------------------------------------------------------------------------

PROMPTS = ["A wide view (aspect ratio 16:9)", "\\(she\\) smiles :)"]
ESCAPED = ["A wide view \\(aspect ratio 16:9\\)", "\\\\(she\\\\) smiles :\\)"]
DARK = "dark (night:1.5)"


def outputs(log) -> list[str]:
    """What sinks wrote down."""
    found = [line[5:] for line in lines_of(log) if line.startswith("sink ")]
    return sorted(found)


def with_sinks(log, **of_story) -> dict:
    graph = loop_graph(story(prompts=PROMPTS, name="Weights"), log, opened={"negative": DARK})
    graph["story"]["inputs"] |= of_story
    for name, slot in (("prompt", 4), ("negative", 5)):
        inputs = {"value": ["open", slot], "log": str(log)}
        graph[name] = {"class_type": "StoryMemTestSink", "inputs": inputs}
    return graph


def test_open_escapes_its_texts(host, log):
    host.run(with_sinks(log))
    assert outputs(log) == sorted([*ESCAPED, *["dark \\(night:1.5\\)"] * 2])


def test_prompt_weights_of_load_story_leaves_them_as_typed(host, log):
    host.run(with_sinks(log, prompt_weights=True))
    assert outputs(log) == sorted([*PROMPTS, DARK, DARK])


@pytest.mark.parametrize("is_on", [False, True])
def test_next_shot_does_the_same(host, log, is_on):
    graph = with_sinks(log, prompt_weights=is_on)
    inputs = {"story": ["story", 0], "continuity": "last_frame", "filename_prefix": "wire"}
    begin = {"class_type": "StoryMemBeginStory", "inputs": {**inputs, "negative": DARK}}
    graph = {"story": graph["story"], "begin": begin} | {
        n: graph[n] for n in ("prompt", "negative")
    }
    graph["next"] = {"class_type": "StoryMemNextShot", "inputs": {"state": ["begin", 0]}}
    for name, slot in (("prompt", 4), ("negative", 5)):
        graph[name]["inputs"]["value"] = ["next", slot]
    host.run(graph)
    typed, escaped = (PROMPTS[0], DARK), (ESCAPED[0], "dark \\(night:1.5\\)")
    assert outputs(log) == sorted(typed if is_on else escaped)


def test_what_people_read_has_no_escapes(host, log):
    graph = with_sinks(log)
    graph["close"]["inputs"]["prompt_subtitles"] = True
    folder = Path(host.run(graph)["folder"])
    texts = [path.read_text() for path in folder.rglob("*") if path.suffix in (".srt", ".json")]
    assert any(PROMPTS[0] in text for text in texts)
    assert not any("\\(aspect" in text for text in texts)


def test_only_shots_with_parentheses_are_made_again(host, log):
    def graph(**of_story):
        prompts = ["a plain one :)", "a [wide] \\ one", "a (red) one"]
        made = loop_graph(story(prompts=prompts, cuts=[True] * 3, name="Some"), log)
        made["story"]["inputs"] |= of_story
        return made

    host.run(graph())
    assert ran(log) == [1, 2, 3]
    host.run(graph(prompt_weights=True))
    assert ran(log) == [3]
    host.run(graph())
    assert ran(log) == []


def test_the_tiny_models_encoder_reads_the_same(host):
    encoder = host.pack("nodes.tiny").TinyTextEncoder
    typed = "Bomo (jumps), (Fipi stands:1.2), meadow"
    (one, *_), (other, *_) = (encoder.execute(t).result for t in (typed, escape_weights(typed)))
    assert one[0][0].equal(other[0][0])
