"""What a measurement leaves: JSON without NaN, CSV, heat maps, and a page that is safe to open."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.film_files import PlainFeatures, write_story
from storymem.film.finished_story import open_film
from storymem.metrics.report import (
    PAGE_POLICY,
    Measurement,
    as_csv,
    as_json,
    as_table,
    heat_map,
    title_of,
    write_report,
)
from storymem.metrics.scores import MetricModels, ShotNumbers, StoryNumbers, measure_story

EVIL = "=cmd|'/c calc'!A1 <script>alert(1)</script> \"><img src=x onerror=alert(2)> & 'q'"
COLUMNS = ("aesthetic", "global", "single_shot", "overall", "top10")


def story(name: str, count: int = 3, *, prompt: str = "a dog", **values) -> StoryNumbers:
    shots = tuple(
        ShotNumbers(f"01_{i + 1:02d}", prompt, 81, 832, 480, 0.25, 0.6, False, b"jpeg")
        for i in range(count)
    )
    similarity = np.full((count, count), 0.5) + np.eye(count) * 0.5
    full = dict.fromkeys(COLUMNS, 0.5) | values
    pairs = ((0, 1),)[: count - 1]
    return StoryNumbers(name, Path("stories") / name, shots, full, similarity, pairs)


def measurement(systems, **more) -> Measurement:
    judges = MetricModels(PlainFeatures()).describe() | {"aesthetic_every": 1, "text_tokens": 32}
    return Measurement(systems, COLUMNS, judges, **more)


def read_csv(path: Path) -> list[dict]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


class Page(HTMLParser):
    """Tags, texts and addresses of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.words, self.addresses = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href")]
        assert not [k for k, _ in attributes if k.startswith("on")]

    def handle_data(self, data):
        self.words.append(data)


def test_all_files_are_written_and_agree(tmp_path):
    films = [
        open_film(write_story(tmp_path / "in" / n, [(9, 32, 48), (5, 48, 32)], name=n))
        for n in ("one", "two")
    ]
    numbers = [measure_story(film, MetricModels(PlainFeatures())) for film in films]
    judges = MetricModels(PlainFeatures())
    page = write_report(
        tmp_path / "out", Measurement({"ours": numbers}, judges.columns, judges.describe())
    )
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert data["systems"]["ours"]["overall"]["stories"] == 2
    rows = read_csv(tmp_path / "out" / "shots.csv")
    assert [row["shot"] for row in rows] == ["01_01", "01_02"] * 2
    per_shot = [shot for s in data["stories"] for shot in s["per_shot"]]
    assert [float(row["single_shot"]) for row in rows] == [s["single_shot"] for s in per_shot]
    stories = read_csv(tmp_path / "out" / "stories.csv")
    assert [float(row["overall"]) for row in stories] == [s["overall"] for s in data["stories"]]
    systems = read_csv(tmp_path / "out" / "systems.csv")
    assert float(systems[0]["overall_low"]) == data["systems"]["ours"]["overall"]["low"]
    assert len(list((tmp_path / "out" / "heatmaps").glob("*.png"))) == 2
    found = Page(page.read_text())
    assert found.tags.count("img") == 2 * (2 + 1)
    assert all(address.startswith("data:image/") for address in found.addresses)


def test_what_is_not_known_is_null_and_blank_never_zero_or_nan(tmp_path):
    one = measurement({"ours": [story("one", 1, overall=None, top10=None)]})
    write_report(tmp_path, one)
    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["stories"][0]["overall"] is None
    (row,) = read_csv(tmp_path / "stories.csv")
    assert row["overall"] == ""
    assert row["global"] == "0.5"
    (row,) = read_csv(tmp_path / "systems.csv")
    assert (row["overall"], row["overall_stories"]) == ("", "0")
    assert (row["global"], row["global_low"]) == ("0.5", "")  # one story has no interval
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path, measurement({"ours": [story("one", overall=float("nan"))]}))


def test_prompts_can_neither_run_in_the_page_nor_in_a_spreadsheet(tmp_path):
    evil = measurement({f"a{EVIL}": [story(f"b/../{EVIL}", prompt=EVIL)]}, notes=(EVIL,))
    page = write_report(tmp_path, evil)
    found = Page(page.read_text())
    assert "script" not in found.tags
    assert EVIL in "".join(found.words)
    assert "Content-Security-Policy" in page.read_text()
    for row in read_csv(tmp_path / "shots.csv"):
        assert row["prompt"] == f"'{EVIL}"
    files = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 6
    assert {path.parts[0] for path in files if len(path.parts) > 1} == {"heatmaps"}


def test_quotes_end_no_attribute_of_the_page(tmp_path):
    quoted = story("s", 1)
    shot = replace(quoted.shots[0], label="1' onerror='alert(1)\"")
    page = write_report(tmp_path, measurement({"a": [replace(quoted, shots=(shot,))]}))
    assert "1' onerror='alert(1)\"" in Page(page.read_text()).words


def test_the_page_holds_these_words_and_no_other(tmp_path):
    systems = {"wan": [story("one", 1, overall=None)], "ours": [story("one", 1, overall=0.25)]}
    page = write_report(tmp_path, measurement(systems, notes=("A & B", "C")))
    text = page.read_text()
    found = Page(re.sub("<style>.*</style>", "", text, flags=re.DOTALL))
    titles = [title_of(column) for column in COLUMNS]
    half, gap = "0.5000", "+0.0000"
    shots = [
        "Shots", "shot", "size", "aesthetic", "prompt following", "prompt",
        "01_01", "81 frames", "832x480", "0.6000", "0.2500", "a dog",
    ]  # fmt: skip

    def numbers(overall: str) -> list[str]:
        values = [half, half, half, overall, half]
        return [word for pair in zip(titles, values, strict=True) for word in pair]

    assert [word.strip() for word in found.words if word.strip()] == [
        *("Story metrics", "Story metrics"),
        "Measured with plain features. Intervals: 95 %, bootstrap over stories.",
        *("system", *titles, "stories"),
        *("wan", half, half, half, "-", half, "1"),
        *("ours", half, half, half, "0.2500", half, "1"),
        "Differences, story by story",
        *("minus wan", *titles, "stories"),
        *("ours", gap, gap, gap, "-", gap, "1"),
        *("A & B", "C"),
        *("one", "(wan)", *numbers("-"), *shots),
        *("one", "(ours)", *numbers("0.2500"), *shots),
    ]
    assert text.startswith("<!doctype html>")
    assert text.endswith("</body></html>\n")
    assert "<style>body{" in text
    assert f'content="{PAGE_POLICY}"' in text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "  =1", "\t=1"])
def test_texts_that_look_like_formulas_are_quoted(text):
    (row,) = csv.DictReader(io.StringIO(as_csv([{"a": text, "b": -0.5}])))
    assert row == {"a": f"'{text}", "b": "-0.5"}


def test_tables_show_systems_side_by_side_with_intervals():
    a = [story(f"s{i}", overall=0.4 + 0.01 * i) for i in range(5)]
    b = [story(f"s{i}", overall=0.5 + 0.01 * i) for i in range(5)]
    lines = as_table(measurement({"wan": a, "storymem": b})).splitlines()
    assert lines[0].split()[0] == "system"
    assert "0.4200 [0.4" in lines[1]
    assert lines[4].startswith("minus wan")
    assert "+0.1000 [+0.1000, +0.1000]" in lines[5]
    assert lines[5].endswith(" 5")


def test_notes_say_what_the_numbers_leave_out():
    shots = story("s").shots
    cut = [ShotNumbers(*[getattr(s, f) for f in ("label", "prompt", "frames", "width", "height",
           "following", "aesthetic")], True) for s in shots]  # fmt: skip
    long = StoryNumbers("s", Path("s"), tuple(cut), {"overall": 0.1}, np.eye(3), ())
    judges = {"features": "ViCLIP B/16", "text_tokens": 32, "aesthetic_every": 8}
    columns = ("aesthetic_other_head", "overall")
    told = Measurement({"a": [long]}, columns, judges, {"x": "broken"}).all_notes()
    assert told[0].startswith("3 of 3 prompts are longer than the 32 tokens")
    assert any("one frame in 8" in note for note in told)
    assert any("cannot be compared with the paper's" in note for note in told)
    assert any("the paper measures with ViCLIP L/14" in note for note in told)
    assert told[-1] == "x was not measured: broken"
    assert as_json(measurement({"a": [story("s")]}))["notes"] == []


@pytest.mark.parametrize("count", [1, 2, 12, 60, 200])
def test_heat_maps_show_every_pair_at_any_size(count):
    values = np.random.RandomState(count).uniform(0, 1, (count, count))
    picture = heat_map(values, [f"01_{i:02d}" for i in range(count)])
    assert picture.dtype == np.uint8
    assert picture.shape[0] == picture.shape[1] <= 900
    cell = max(3, min(96, 768 // count))
    margin = picture.shape[0] - count * cell
    corners = picture[margin + 1 :: cell, margin + 1 :: cell].astype(int).sum(axis=2)
    order = np.argsort(values.ravel())
    shown = corners.ravel()[order]
    assert (np.diff(shown) >= -8).all(), "brighter is more alike"
    Image.fromarray(picture)
