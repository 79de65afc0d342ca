"""Numbers and their nouns on the page: one shot, two shots."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "web" / "js" / "shared"
OF = ("desk", "editor", "plan", "seen", "story", "takes")
NAMES = ("texts", *(f"{name}_texts" for name in OF))
TEXTS = [SHARED / f"{name}.js" for name in NAMES]
COUNTED = r"shots|frames|pictures|scenes|files|films|keyframes"
WITH_NOUN = re.compile(r"\{(\w+)\|[^|}]+\|[^}]+\}")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_text_counts_one_thing_in_the_plural(path):
    source = path.read_text(encoding="utf-8")
    assert re.findall(rf"\{{\w+\}} (?:{COUNTED})\b", source) == []
    texts = [line for line in source.splitlines() if line.lstrip().startswith('"')]
    for line in texts:  # a noun agrees with a number that stands before it
        assert all(f"{{{name}}} {{{name}|" in line for name in WITH_NOUN.findall(line)), line
    assert WITH_NOUN.search(source)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(("shots", "told"), [(0, "0 shots"), (1, "1 shot"), (2, "2 shots")])
def test_the_page_puts_the_noun_in_its_number(shots, told):
    source = TEXTS[0].read_text(encoding="utf-8")
    parts = re.findall(r"^(?:export )?(function (?:inNumber|t)\(.*?^\})", source, re.M | re.S)
    assert len(parts) == 2
    script = "\n".join(
        [
            "const TEXTS = {en: {}}; const language = () => 'en';",
            "const STORY_TEXTS = {en: {key: '{n} {n|shot|shots}'}};",
            *parts,
            f"process.stdout.write(t('key', {{n: {json.dumps(shots)}}}));",
        ]
    )
    run = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert run.stdout == told
