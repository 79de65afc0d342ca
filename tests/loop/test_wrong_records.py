"""Records that hold what no version writes: each is told by what is wrong with it."""

from __future__ import annotations

import pytest
import torch

from helpers.fakes import noise_image
from helpers.record_files import body_of, text_of, write_body
from storymem.files.hashing import digest_of
from storymem.loop.shot_record import DamagedError, read_record
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame

KEY = digest_of("a shot")
WHOLE = digest_of("a picture")
FACTS = {"story": "Größe", "label": "01_01", "prompt": "Mara", "shot_prompt": "Mara", "own": "x"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """With one shot, whose record each test writes anew."""
    store = ShotStore(tmp_path_factory.mktemp("store"))
    picture = MemoryFrame(noise_image(1), name="Zoë")
    store.commit(KEY, torch.zeros(2, 16, 16, 3), MemoryBank((picture,)), FACTS)
    return store


@pytest.fixture
def body(store):
    """What the record says; afterwards it says so again."""
    body = body_of(store.folder_of(KEY))
    yield body
    write_body(store.folder_of(KEY), body)


def test_what_is_written_stands_in_the_record_as_it_was_typed(store):
    text = text_of(store.folder_of(KEY))
    assert '"story": "Größe"' in text
    assert '"name": "Zoë"' in text


@pytest.mark.parametrize("value", [-1, 1.5, 3.0, True, "3", None, [3], 1_000_000])
@pytest.mark.parametrize("name", ["max_frames", "sink"])
def test_a_window_without_a_size_is_told(store, body, name, value):
    write_body(store.folder_of(KEY), {**body, "bank": {**body["bank"], name: value}})
    with pytest.raises(DamagedError, match="holds no memory bank: its window has no size"):
        store.outline(store.find(KEY))


@pytest.mark.parametrize("name", ["max_frames", "sink"])
def test_a_window_may_have_any_size_from_none_on(store, body, name):
    for value in (0, 1, 999_999):
        write_body(store.folder_of(KEY), {**body, "bank": {**body["bank"], name: value}})
        assert getattr(store.outline(store.find(KEY)), name) == value


@pytest.mark.parametrize(
    "seen",
    [{"d": 5}, {"d": None}, {"d": []}, {"d": "\ud800"}, {"\ud800": "why"}, {"a": "", "d": 5}],
)
def test_what_a_shot_saw_is_told_where_it_is_no_text(store, body, seen):
    write_body(store.folder_of(KEY), {**body, "bank": {**body["bank"], "seen": seen}})
    words = "holds no memory bank: what its last shot saw is no text"
    with pytest.raises(DamagedError, match=words):
        store.outline(store.find(KEY))


@pytest.mark.parametrize(
    "change",
    [
        *({"facts": facts} for facts in (5, None, "x", [], ["story"])),
        *({"facts": {**FACTS, name: 5}} for name in FACTS),
        *({"facts": {name: None}} for name in FACTS),
        *({"frames": frames} for frames in ("2", 2.0, None, [2])),
        *({"tail": tail} for tail in ([5], ["x"], [WHOLE, "x"], ["x", WHOLE], [WHOLE.upper()])),
    ],
)
def test_values_of_a_wrong_type_are_told(store, body, change):
    write_body(store.folder_of(KEY), {**body, **change})
    with pytest.raises(DamagedError, match=r"record\.json holds values of the wrong type"):
        read_record(store.folder_of(KEY), KEY)
    assert store.find(KEY) is None


@pytest.mark.parametrize("facts", [{}, *({name: ""} for name in FACTS)])
def test_a_record_may_say_less_of_its_shot(store, body, facts):
    """Earlier versions did."""
    write_body(store.folder_of(KEY), {**body, "facts": facts, "tail": []})
    record = store.find(KEY)
    assert (record.facts, record.tail, record.frames) == (facts, (), 2)


def test_what_no_frame_has_is_passed_over(store, body):
    """Later versions may say more; pixels are never in a record."""
    (frame,) = body["bank"]["frames"]
    more = {**frame, "picture": "x", "later": 1}
    write_body(store.folder_of(KEY), {**body, "bank": {**body["bank"], "frames": [more]}})
    for bank in (store.outline(store.find(KEY)), store.load(store.find(KEY)).bank):
        assert [one.digest for one in bank.frames] == [frame["sha256"]]
        assert [one.name for one in bank.frames] == ["Zoë"]
