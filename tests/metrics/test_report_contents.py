"""A report says each number where it belongs, word for word."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import FrozenInstanceError, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storymem.metrics import report
from storymem.metrics.report import (
    Measurement,
    as_json,
    as_png,
    as_table,
    heat_map,
    show,
    title_of,
    write_report,
)
from storymem.metrics.scores import Estimate, ShotNumbers, StoryNumbers

COLUMNS = ("aesthetic", "single_shot", "overall")
MODELS = {"features": "ViCLIP L/14", "text_tokens": 32, "aesthetic_every": 1}
ALIKE = np.array([[1.0, 0.1234567, -0.5], [0.1234567, 1.0, 0.9], [-0.5, 0.9, 1.0]])


def story(name: str, base: float, *, columns=COLUMNS) -> StoryNumbers:
    shots = tuple(
        ShotNumbers(
            f"01_0{i}", f"prompt {i}", 9 * i, 64 + i, 48 + i, base + i / 100, base + i / 10,
            False, f"picture {i}".encode(),
        )
        for i in (1, 2, 3)
    )  # fmt: skip
    values = {column: base + i / 100 for i, column in enumerate(columns)}
    return StoryNumbers(name, Path("films") / name, shots, values, ALIKE, ((1, 2), (0, 1)))


@pytest.fixture
def measured() -> Measurement:
    wan = [story("one", 0.2), story("two", 0.4)]
    ours = [story("one", 0.3), story("two", 0.5)]
    return Measurement({"wan": wan, "ours": ours}, COLUMNS, MODELS)


class Tables(HTMLParser):
    """The cells of a page's tables, row by row, its headings, notes and pictures."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.notes: list[str] = []
        self.headings: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self._into: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._into = self.tables[-1][-1]
            self._into.append("")
        elif tag in ("h1", "h2", "p"):
            self._into = self.headings if tag != "p" else self.notes
            self._into.append("")
        elif tag == "img":
            found = dict(attributes)
            self.pictures.append((found["alt"], found["src"]))

    def handle_data(self, data):
        if self._into:
            self._into[-1] += data

    def handle_endtag(self, tag):
        if tag in ("td", "th", "h1", "h2", "p", "table"):
            self._into = None


def test_the_page_has_the_systems_their_differences_and_every_story(measured, tmp_path):
    page = Tables(write_report(tmp_path, measured).read_text(encoding="utf-8"))
    head = [report.TITLES[column] for column in COLUMNS] + ["stories"]
    systems, gaps, *stories = page.tables
    means, differences = measured.compare()
    assert systems == [
        ["system", *head],
        *([name, *(show(means[name][c]) for c in COLUMNS), "2"] for name in ("wan", "ours")),
    ]
    assert gaps == [
        ["minus wan", *head],
        ["ours", *(show(differences["ours"][c], signed=True) for c in COLUMNS), "2"],
    ]
    assert page.headings == [
        "Story metrics", "Differences, story by story",
        "one (wan)", "two (wan)", "one (ours)", "two (ours)",
    ]  # fmt: skip
    assert stories[0] == [[head[0], "0.2000"], [head[1], "0.2100"], [head[2], "0.2200"]]
    assert stories[1] == [
        ["", "shot", "size", "aesthetic", "prompt following", "prompt"],
        ["", "01_01", "9 frames65x49", "0.3000", "0.2100", "prompt 1"],
        ["", "01_02", "18 frames66x50", "0.4000", "0.2200", "prompt 2"],
        ["", "01_03", "27 frames67x51", "0.5000", "0.2300", "prompt 3"],
    ]
    assert page.notes[0] == ("Measured with ViCLIP L/14. Intervals: 95 %, bootstrap over stories.")
    of_shot = {alt: base64.b64decode(src.split("base64,")[1]) for alt, src in page.pictures[1:4]}
    assert of_shot == {f"shot 01_0{i}": f"picture {i}".encode() for i in (1, 2, 3)}
    maps = [src for alt, src in page.pictures if alt.startswith("How alike the shots are")]
    shown = as_png(heat_map(ALIKE, ["01_01", "01_02", "01_03"]))
    assert maps == [f"data:image/png;base64,{base64.b64encode(shown).decode()}"] * 4
    assert page.pictures[1][1].startswith("data:image/jpeg;base64,")


def test_the_files_are_named_by_number_system_and_story(measured, tmp_path):
    write_report(tmp_path / "a" / "b", measured)
    names = sorted(path.name for path in (tmp_path / "a" / "b" / "heatmaps").iterdir())
    assert names == ["001_wan_one.png", "002_wan_two.png", "003_ours_one.png", "004_ours_two.png"]
    with Image.open(tmp_path / "a" / "b" / "heatmaps" / names[0]) as picture:
        assert np.array_equal(np.asarray(picture), heat_map(ALIKE, ["01_01", "01_02", "01_03"]))
    for name, rows in (
        ("shots", report.shot_rows(measured)),
        ("stories", report.story_rows(measured)),
        ("systems", report.system_rows(measured)),
    ):
        text = (tmp_path / "a" / "b" / f"{name}.csv").read_text(encoding="utf-8")
        assert text == report.as_csv(rows)
    written = (tmp_path / "a" / "b" / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(written) == json.loads(json.dumps(as_json(measured)))
    assert written.startswith('{\n "format": 1,')


def test_the_json_has_everything(measured):
    data = as_json(measured)
    means, differences = measured.compare()
    assert list(data) == [
        "format", "measured_with", "bootstrap", "notes", "systems", "differences_from_first",
        "stories",
    ]  # fmt: skip
    assert data["measured_with"] == MODELS
    assert data["bootstrap"] == {
        "over": "stories", "rounds": 10_000, "seed": 0, "interval": 0.95,
    }  # fmt: skip
    estimate = means["wan"]["overall"]
    assert data["systems"]["wan"]["overall"] == {
        "mean": estimate.mean, "low": estimate.low, "high": estimate.high, "stories": 2,
    }  # fmt: skip
    assert list(data["differences_from_first"]) == list(differences) == ["ours"]
    second = data["stories"][1]
    assert {key: second[key] for key in list(second)[:4]} == {
        "system": "wan", "story": "two", "folder": "two", "shots": 3,
    }  # fmt: skip
    assert [second[column] for column in COLUMNS] == [0.4, 0.4 + 0.01, 0.4 + 0.02]
    assert second["similarity"][0] == [1.0, 0.123457, -0.5]
    assert second["top_pairs"] == [["01_02", "01_03"], ["01_01", "01_02"]]
    assert second["per_shot"][2] == {
        "system": "wan", "story": "two", "shot": "01_03", "frames": 27, "width": 67, "height": 51,
        "aesthetic": 0.4 + 3 / 10, "single_shot": 0.4 + 3 / 100, "prompt": "prompt 3",
    }  # fmt: skip


def test_the_rows_of_the_tables(measured):
    assert [row["shot"] for row in report.shot_rows(measured)] == ["01_01", "01_02", "01_03"] * 4
    assert [(row["system"], row["story"]) for row in report.shot_rows(measured)[::3]] == [
        ("wan", "one"), ("wan", "two"), ("ours", "one"), ("ours", "two"),
    ]  # fmt: skip
    assert report.story_rows(measured)[3] == {
        "system": "ours", "story": "two", "shots": 3,
        "aesthetic": 0.5, "single_shot": 0.51, "overall": 0.52,
    }  # fmt: skip
    estimate = measured.compare()[0]["ours"]["overall"]
    row = report.system_rows(measured)[1]
    assert list(row)[:5] == [
        "system", "aesthetic", "aesthetic_low", "aesthetic_high", "aesthetic_stories",
    ]  # fmt: skip
    assert [row[f"overall{tail}"] for tail in ("", "_low", "_high", "_stories")] == [
        estimate.mean, estimate.low, estimate.high, 2,
    ]  # fmt: skip
    assert report.as_csv([]) == ""
    assert report.as_csv([{"a": 1, "b": None}, {"a": "x,y", "b": 0.5}]) == 'a,b\n1,\n"x,y",0.5\n'


def test_the_text_table_is_aligned_by_its_columns(measured):
    one = Measurement({"wan": [story("one", 0.2)], "a": [story("two", 0.3)]}, COLUMNS, MODELS)
    assert as_table(one) == (
        "system  aesthetic  single_shot  overall  stories\n"
        "wan        0.2000       0.2100   0.2200        1\n"
        "a          0.3000       0.3100   0.3200        1\n"
        "\n"
        "minus wan  aesthetic  single_shot  overall  stories\n"
        "a                  -            -        -        0"
    )
    alone = Measurement({"wan": measured.systems["wan"]}, COLUMNS, MODELS)
    assert len(as_table(alone).splitlines()) == 2


def test_the_number_of_stories_is_that_of_the_column_that_most_have(measured, tmp_path):
    one, two = story("one", 0.2), story("two", 0.4)
    partly = replace(two, values={**two.values, "aesthetic": None, "overall": None})
    some = Measurement({"wan": [one, partly], "ours": [one, partly]}, COLUMNS, MODELS)
    lines = as_table(some).splitlines()
    assert [line.split()[-1] for line in lines if line] == ["stories", "2", "2", "stories", "2"]
    page = Tables(write_report(tmp_path, some).read_text(encoding="utf-8"))
    assert [row[-1] for table in page.tables[:2] for row in table] == [
        "stories", "2", "2", "stories", "2",
    ]  # fmt: skip
    assert page.tables[2][0][1] == "0.2000"
    assert page.tables[4][0][1] == "-"


def test_every_letter_is_written_as_it_is(tmp_path):
    """A folder's name may hold bytes that are no text: they are kept but for the page."""
    odd = replace(story("é 龙", 0.2), name="é 龙 \udce9")
    page = write_report(tmp_path, Measurement({"Ü\udcff": [odd]}, COLUMNS, MODELS))
    assert page == tmp_path / "report.html"
    for name in ("metrics.json", "stories.csv", "shots.csv", "systems.csv"):
        text = (tmp_path / name).read_bytes().decode("utf-8", "surrogatepass")
        assert "Ü\udcff" in text
        assert ("é 龙 \udce9" in text) == (name != "systems.csv")
    text = page.read_bytes().decode("utf-8")
    assert "<h2>é 龙 ? <small>(Ü?)</small></h2>" in text


def test_a_number_is_shown_as_the_paper_prints_it():
    assert show(Estimate(None, None, None, 0)) == "-"
    assert show(Estimate(0.50654, None, None, 1)) == "0.5065"
    assert show(Estimate(0.50654, 0.4, 0.6, 2)) == "0.5065 [0.4000, 0.6000]"
    assert show(Estimate(0.1, -0.1, 0.3, 2), signed=True) == "+0.1000 [-0.1000, +0.3000]"
    assert [report._number(n) for n in (None, float("nan"), 0.0, 0.12345)] == [
        "-", "-", "0.0000", "0.1235",
    ]  # fmt: skip


def test_columns_of_a_stand_in_say_so():
    titles = {
        "aesthetic": "aesthetic quality",
        "aesthetic_other_head": "aesthetic quality (another head)",
        "global": "prompt following, global",
        "single_shot": "prompt following, single shot",
        "overall": "cross-shot consistency, overall",
        "top10": "cross-shot consistency, top-10",
        "identity": "later appearances that keep the look",
    }
    assert {column: title_of(column) for column in titles} == titles
    assert title_of("clip_average_overall") == (
        "cross-shot consistency, overall (open_clip frame average)"
    )
    assert title_of("tiny_world_identity") == "later appearances that keep the look (tiny world)"
    assert title_of("something else") == "something else"
    columns = ("clip_average_single_shot", "clip_average_overall")
    measured = Measurement({"a": [story("s", 0.2, columns=columns)]}, columns, MODELS)
    assert measured.all_notes() == [
        "columns clip_average_... are a stand-in's (open_clip frame average): they cannot be "
        "compared with the paper's"
    ]
    assert report.shot_rows(measured)[0]["clip_average_single_shot"] == 0.2 + 1 / 100


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"aesthetic_every": 1}, []),
        ({"aesthetic_every": None}, []),
        ({"aesthetic_every": 2}, ["aesthetic quality looks at one frame in 2 only"]),
        ({"features": "ViCLIP B/16"}, ["the paper measures with ViCLIP L/14"]),
        ({"features": "another"}, []),
    ],
)
def test_a_note_stands_where_the_measure_is_not_the_papers(changed, told):
    measured = Measurement({"a": [story("s", 0.2)]}, COLUMNS, {**MODELS, **changed})
    assert measured.all_notes() == told


def test_notes_come_first_and_failures_last(measured):
    more = Measurement(
        measured.systems, COLUMNS, MODELS, {"b": "no film", "a": "no script"}, ("mine",)
    )
    assert more.all_notes() == [
        "mine", "b was not measured: no film", "a was not measured: no script",
    ]  # fmt: skip
    assert [f"{system} {s.name}" for system, s in more.stories] == [
        "wan one", "wan two", "ours one", "ours two",
    ]  # fmt: skip


def test_names_with_slashes_make_no_folders(measured, tmp_path):
    odd = Measurement({"a/b": [story("c\\d", 0.2)]}, COLUMNS, MODELS)
    write_report(tmp_path, odd)
    (path,) = (tmp_path / "heatmaps").iterdir()
    assert re.fullmatch(r"001_a_b_c_d\.png", path.name)


def test_a_measurement_never_changes():
    measured = Measurement({"a": [story("s", 0.2)]}, COLUMNS, MODELS)
    assert (measured.failures, measured.notes) == ({}, ())
    with pytest.raises(FrozenInstanceError):
        measured.notes = ("x",)
