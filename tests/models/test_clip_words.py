"""CLIP's tokens from its vocabulary's files, beside open_clip's own tokenizer."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import torch

from helpers.clip_texts import TEXTS, random_texts
from storymem.files import packages
from storymem.models.clip_parts import END, START, rows_of
from storymem.models.clip_text import tokenise
from storymem.models.clip_words import ClipWords
from storymem.models.viclip import tokenise as viclip_tokens

open_clip = pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def reference():
    return open_clip.tokenizer.SimpleTokenizer()


@pytest.fixture(scope="module")
def words(tmp_path_factory, reference) -> ClipWords:
    """From open_clip's vocabulary, in the files that transformers and the host ship it in."""
    folder = tmp_path_factory.mktemp("vocabulary")
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    numbers = {names.get(piece, piece): number for piece, number in reference.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(pair) for pair in reference.bpe_ranks)]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    return ClipWords(folder)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_equal_open_clips(words, reference, text):
    assert words(text) == reference.encode(text)


def test_tokens_of_any_text_equal_open_clips(words, reference):
    for text in random_texts(4000, random.Random(7)):
        assert words(text) == reference.encode(text), ascii(text)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("context", [77, 32])
def test_rows_equal_open_clips(words, reference, text, context):
    assert torch.equal(viclip_tokens([text], context, words), reference([text], context))
    assert torch.equal(tokenise(text, token_ids=words), tokenise(text))


def test_a_text_that_is_too_long_keeps_its_end_token():
    rows = rows_of([[1, 2, 3], [4], []], 4)
    assert rows.tolist() == [[START, 1, 2, END], [START, 4, END, 0], [START, END, 0, 0]]


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [(None, None), ("{}", None), ("not json", "a b\n"), ('{"a": 0}', "x y\n")],
)
def test_a_vocabulary_that_cannot_be_read_is_named(tmp_path, vocabulary, merges):
    for name, text in (("vocab.json", vocabulary), ("merges.txt", merges)):
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"CLIP's vocabulary in .* cannot be read"):
        ClipWords(tmp_path)("a")


@pytest.mark.parametrize("package", ["ftfy", "regex", "tokenizers"])
def test_a_missing_package_is_told_with_the_command(monkeypatch, package):
    there = packages.missing
    monkeypatch.setattr(
        packages, "missing", lambda names: [n for n in names if n == package or there((n,))]
    )
    with pytest.raises(ValueError, match=rf"needs the package {package}, .*: {sys.executable} -m"):
        ClipWords(Path("nowhere"))("a")
