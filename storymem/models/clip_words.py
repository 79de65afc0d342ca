"""CLIP's tokens of a text from its published vocabulary, as open_clip and OpenAI make them."""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path

from ..files.packages import needs
from .clip_parts import END, START

# How CLIP was trained to part a text: contractions, runs of letters, single digits, runs of others.
PARTS = r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
MARKS = {"<start_of_text>": START, "<end_of_text>": END}  # a text may hold them, too


class ClipWords:
    """Turns texts into CLIP's tokens; the vocabulary is read with the first text.

    Args:
        folder: with ``vocab.json`` and ``merges.txt`` in transformers' layout.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._read = lru_cache(maxsize=1)(self._build)

    def check(self) -> None:
        """Raise ValueError, with the command that helps, when a package is missing."""
        for module in ("ftfy", "regex", "tokenizers"):
            needs(module, module, "Reading texts as CLIP does")

    def __call__(self, text: str) -> list[int]:
        """Tokens of ``text``, without the start and the end around it.

        Raises:
            ValueError: when a package is missing, or the vocabulary is not CLIP's.
        """
        self.check()
        import ftfy
        import regex

        clean = html.unescape(html.unescape(ftfy.fix_text(text)))
        words = regex.findall(PARTS, " ".join(clean.split()).lower(), regex.IGNORECASE)
        pieces = self._read()
        ids: list[int] = []
        for word in words:
            ids += [MARKS[word]] if word in MARKS else pieces(word)
        return ids

    def _build(self):
        from tokenizers import Tokenizer, models, pre_tokenizers

        files = [str(self._folder / name) for name in ("vocab.json", "merges.txt")]
        try:
            model = models.BPE.from_file(*files, end_of_word_suffix="</w>")
        except Exception as error:  # the package has no error of its own
            raise ValueError(
                f"CLIP's vocabulary in {self._folder} cannot be read: {error}"
            ) from error
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return lambda word: tokenizer.encode(word, add_special_tokens=False).ids
