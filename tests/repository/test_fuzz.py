"""Whatever comes in - scripts, banks, LoRAs, pictures, clicks, names, manifests - ends in a result
or in a ValueError in one short line, and touches nothing outside of its folder.

    pytest tests/repository/test_fuzz.py                   # seeded, as CI runs it
    STORYMEM_FUZZ=50 pytest tests/repository/test_fuzz.py  # 50 times as many, new each time

docs/reliability.md says how many inputs were tried.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import shutil
import struct
import tempfile
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from helpers.fakes import noise_image
from helpers.hostile_weights import archive_bomb, write_archive, zipped_bomb
from storymem.files.images import MAX_PIXELS, read_picture
from storymem.files.names import check_name, folder_name
from storymem.files.weights_file import read_outline, read_state_dict
from storymem.film.earlier_films import begin_film, find_film, notices_of, shares_prompt
from storymem.film.folder import claim_folder, remove_shown
from storymem.film.manifest import MANIFEST, prompt_marks, read_manifest, update_manifest
from storymem.film.shot_status import script_mark, shot_states
from storymem.loop.reuse import latest_results, moved_results
from storymem.loop.shot_memory import shot_memory
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.sampling.lora import read_lora
from storymem.script.numbers import parse_ranges
from storymem.script.reader import load_story
from storymem.script.rows import FORMATS, check_written, read_script, write_script
from storymem.script.story import Story, summarise
from storymem.views.bank import view_bank
from storymem.views.script import script_of_view, view_script

pytestmark = pytest.mark.slow
TIMES = float(os.environ.get("STORYMEM_FUZZ", "1"))
LONGEST_MESSAGE = 700  # characters
RAW = re.compile(  # what Python says by itself, to nobody in particular
    "Traceback|invalid literal|zip\\(\\)|unpack|codec can't|NoneType|object is not|out of range|"
    "__init__|string conversion|unexpected keyword|must be str|not iterable|has no attribute|"
    "unhashable"
)


def examples(count: int):
    """So many inputs, the same each time unless more are asked for."""
    return settings(
        max_examples=max(1, int(count * TIMES)),
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def same_inputs_in_any_company():
    """Hypothesis also draws what stands in the code of any module that is loaded, so that the tests
    that ran before would change the inputs."""
    with pytest.MonkeyPatch.context() as patch:
        if TIMES == 1:
            with suppress(ImportError, AttributeError):  # it is no promise of Hypothesis
                from hypothesis.internal.conjecture import providers
                from hypothesis.internal.constants_ast import Constants

                patch.setattr(providers, "_get_local_constants", Constants)
        yield


@contextmanager
def only_words(*given: object):
    """What is wrong is said: in a ValueError, in one line, and short. It may quote the input."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        assert text.strip(), "an error without words"
        assert len(text) < LONGEST_MESSAGE, text[:200]
        text.encode()
        raw = RAW.search(text)
        assert raw is None or raw[0] in str(given), text


# --- what inputs are made of ----------------------------------------------------------------------

ODD_TEXT = st.text(
    st.one_of(
        st.sampled_from("[]{}:=-_@'\"’,;/\\.\n\r\t \0\ufeff\u2028#*²٣一龙é"),
        st.characters(codec=None),  # half characters, too
    ),
    max_size=40,
)
PIECES = st.sampled_from([
    "[title: A]", '[title = "A"]', "[continue]", "[cut]", "[scene]", "[scene: 7]", "[character]",
    "[cast: Mara, Pip]", "[seed: 7]", "[length: 81]", "[lock]", '[prompt = "x\\n---"]', "---",
    '[more = {"a": [1]}]', "[scene_more = {}]", '[story_more = {"b": 2}]', "@Mara's coat",
    "[reference_images: a.png, b.png]", '[reference_images = ["a, b.png"]]', "Mara is", "----",
    "[negative_prompt: x]", "[continuity: last_frame]", "[lora_strength: 0.5]",
    "[first_frame_prompt: y]", '[overview = "z"]',
])  # fmt: skip
PLAIN = st.lists(st.one_of(PIECES, ODD_TEXT), max_size=14).map("\n".join)
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**400 + 1, 2**64, -1, 80, 81, 0.0, 1e308])
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, ODD_TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(ODD_TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


def mostly(usual, odd=JSON):
    """Mostly what belongs there, else anything."""
    return st.one_of(usual, usual, usual, odd)


TEXT = mostly(st.sampled_from(["a", "@Mara walks.", "Mara", ""]), ODD_TEXT)
FIELDS = {
    "seed": mostly(st.integers(0, 2**64)),
    "length": mostly(st.sampled_from([1, 5, 81])),
    "negative_prompt": mostly(TEXT),
    "continuity": mostly(st.sampled_from(["last_frame", "last_five_frames"])),
    "lora_strength": mostly(st.floats(0, 2)),
    "reference_images": mostly(st.lists(TEXT, max_size=2)),
    "first_frame_prompt": mostly(TEXT),
    "start_image": mostly(TEXT),
    "lock": mostly(st.booleans()),
}
SHOT = st.fixed_dictionaries(
    {"prompt": mostly(TEXT)}, optional={"cut": JSON, "more": JSON, **FIELDS}
)
SCENE = st.fixed_dictionaries(
    {"video_prompts": mostly(st.lists(st.one_of(TEXT, SHOT), max_size=3))},
    optional={
        "cut": mostly(st.lists(mostly(st.booleans()), max_size=3)),
        "scene_num": mostly(st.integers(0, 9)),
        **{name: mostly(st.lists(value, max_size=3), value) for name, value in FIELDS.items()},
    },
)
SCRIPT = st.fixed_dictionaries(
    {"scenes": mostly(st.lists(SCENE, max_size=3))},
    optional={"story_name": TEXT, "cast": JSON, "character": TEXT, "x": JSON, **FIELDS},
)
ROW = st.fixed_dictionaries(
    {"prompt": mostly(TEXT), "cut": mostly(st.booleans()), "scene": mostly(st.integers(0, 9))},
    optional={"starts": JSON, "extra": JSON, "scene_extra": JSON, **FIELDS},
)
VIEW = st.fixed_dictionaries(
    {"shots": mostly(st.lists(mostly(ROW), max_size=4))},
    optional={
        "name": mostly(TEXT), "overview": mostly(TEXT), "character": mostly(TEXT), "extra": JSON,
        "format": mostly(st.sampled_from(FORMATS)),
    },
)  # fmt: skip


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def mutated(whole: bytes):
    """``whole`` with a few bytes changed, cut off, doubled or put in."""
    places = st.integers(0, max(0, len(whole) - 1))
    change = st.tuples(
        places, st.sampled_from(["set", "cut", "put", "double"]), st.binary(max_size=9)
    )

    def apply(changes) -> bytes:
        data = bytearray(whole)
        for place, kind, new in changes:
            if kind == "set":
                data[place : place + len(new)] = new
            elif kind == "cut":
                del data[place : place + 1 + len(new) ** 2]
            elif kind == "put":
                data[place:place] = new
            else:
                data += data[place : place + 64]
        return bytes(data)

    return st.lists(change, min_size=1, max_size=5).map(apply)


# --- scripts --------------------------------------------------------------------------------------


def use(story: Story) -> None:
    """What the nodes and the page do with a story that was read."""
    summarise(story)
    script_mark(story)
    for shot in story.shots:
        story.prompt_of(shot).encode()
        assert len(str(shot)) < 200


@examples(2500)
@given(st.one_of(PLAIN, SCRIPT.map(dump), ODD_TEXT, JSON.map(dump)), ODD_TEXT)
def test_any_text_is_a_script_or_is_told(text, character):
    with only_words(text, character):
        use(load_story(text, character=character, quiet=True))


@examples(700)
@given(SCRIPT)
def test_any_object_is_a_script_or_is_told(value):
    with only_words(value):
        use(load_story(value, quiet=True))


@examples(900)
@given(st.one_of(PLAIN, SCRIPT.map(dump)), st.sampled_from(FORMATS))
def test_what_is_read_is_written_and_read_again_as_it_was(text, form):
    with only_words(text):
        script = read_script(text)
        written = write_script(script_of_view(json.loads(json.dumps(view_script(script)))), form)
        story = load_story(text, default_name="", quiet=True)
        again = load_story(written, default_name="", quiet=True)
        assert [shot.prompt for shot in again.shots] == [shot.prompt for shot in story.shots]


@examples(1500)
@given(VIEW)
def test_any_rows_of_a_page_are_a_script_or_are_told(view):
    with only_words(view):
        script = script_of_view(view)
        text = write_script(script, script.format)
        use(check_written(script, text))


@examples(1500)
@given(ODD_TEXT | st.text("0123456789-,; ", max_size=40))
def test_any_list_of_numbers_is_one_or_is_told(text):
    with only_words(text):
        assert all(0 <= i < 9 for i in parse_ranges(text, "redo_shots", shots=9))
    with only_words(text):
        assert all(0 <= i < 10**6 for i in parse_ranges(text, "pin"))


# --- clicks ---------------------------------------------------------------------------------------

FRAMES = tuple(MemoryFrame(noise_image(i, 4, 4), shot=i // 2, frame=i % 2) for i in range(6))
DROPPED = tuple(MemoryFrame(noise_image(i, 4, 4), shot=i, frame=9) for i in range(6, 9))
DIGITS = st.one_of(
    st.sampled_from([frame.digest for frame in (*FRAMES, *DROPPED)]).flatmap(
        lambda digest: st.integers(8, 64).map(lambda n: digest[:n])
    ),
    ODD_TEXT,
)
EDITS = st.fixed_dictionaries(
    {},
    optional={
        **{kind: mostly(st.lists(DIGITS, max_size=3)) for kind in ("pin", "unpin", "drop", "keep")},
        "images": mostly(st.lists(ODD_TEXT, max_size=2)),
        "names": mostly(st.dictionaries(DIGITS, TEXT, max_size=3)),
        "x": JSON,
    },
)


@examples(1500)
@given(st.one_of(EDITS.map(dump), EDITS.map(dump), ODD_TEXT, JSON.map(dump)))
def test_any_clicks_are_some_or_are_told(text):
    with only_words(text):
        edits = BankEdits.parse(text)
        bank = MemoryBank(FRAMES, dropped=DROPPED).with_edits(edits)
        assert {f.digest for f in (*bank.frames, *bank.dropped)} == {
            f.digest for f in (*FRAMES, *DROPPED)
        }
        back = bank.with_edits(BankEdits())
        assert [f.digest for f in back.frames] == [f.digest for f in FRAMES]


# --- names ----------------------------------------------------------------------------------------


@examples(1500)
@given(
    st.one_of(ODD_TEXT, st.sampled_from(["con", "LPT¹", "..", "a/../b", "C:", "nul.txt", ".", "~"]))
)
def test_any_name_is_one_folder_or_is_told(tmp_path_factory, name):
    place = tmp_path_factory.getbasetemp() / "names"
    place.mkdir(exist_ok=True)
    with only_words(name):
        safe = folder_name(check_name(name, "the name"))
        made = place / safe
        made.mkdir(exist_ok=True)
        assert made.resolve().parent == place.resolve()
        assert not set(safe) & set('<>:"|?*\0/\\')
        made.rmdir()


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with something in it that nobody may touch, beside the one that is played with."""
    root = tmp_path_factory.mktemp("fuzz")
    (root / "mine.png").write_bytes(b"mine")
    (root / "inside").mkdir()
    yield root
    assert (root / "mine.png").read_bytes() == b"mine"
    assert sorted(path.name for path in root.iterdir()) == ["inside", "mine.png"]


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


STORY = load_story({"scenes": [{"video_prompts": ["a", "b", "a"], "cut": [True] * 3}]})
LABELS = st.one_of(
    st.sampled_from(["01_01", "01_02", "01_03", "../../mine", "x/../../mine"]), ODD_TEXT
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "key": mostly(st.sampled_from(["ab" * 32, "cd" * 32, "../../x"])),
        **{name: mostly(TEXT) for name in ("prompt", "shot_prompt", "held_for", "own", "script")},
        "file": mostly(st.sampled_from(["shot_01_01.mp4", "../mine.png", "/etc/hostname"])),
        "fps": JSON, "size": JSON, "sha256": JSON, "previous": JSON,
    },
)  # fmt: skip
FILM = {
    "shots": mostly(st.dictionaries(LABELS, mostly(ENTRY), max_size=5)),
    "locks": mostly(
        st.dictionaries(LABELS, mostly(st.sampled_from(["ab" * 32, "../../x"])), max_size=3)
    ),
    "prompts": mostly(st.lists(st.sampled_from(prompt_marks(STORY)), max_size=2)),
}
EARLIER = st.lists(mostly(st.fixed_dictionaries(FILM, optional={"name": JSON})), max_size=2)
STORY_JSON = st.one_of(
    st.fixed_dictionaries(
        FILM,
        optional={"earlier": mostly(EARLIER), "stopped": JSON, "failed": JSON, "video": JSON},
    ),
    JSON,
)


@examples(900)
@given(st.one_of(STORY_JSON.map(dump), ODD_TEXT))
def test_any_story_json_is_read_as_one(place, text):
    folder = emptied(place / "inside")
    (folder / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    (folder / "holiday.mp4").write_bytes(b"mine")
    manifest = read_manifest(folder)
    found = latest_results(manifest["shots"], STORY, manifest["locks"])
    assert len(found) == 3
    assert len({id(entry) for entry in found if entry}) == sum(map(bool, found))
    shot_states(STORY, folder)
    notices_of(find_film(folder, STORY), folder, STORY)
    begin_film(folder, STORY, ())
    assert shares_prompt(read_manifest(folder), STORY)
    moved_results(manifest["shots"], STORY, ())
    remove_shown(folder, manifest, ["01_01"])
    update_manifest(folder, STORY, stopped="")
    read_manifest(folder)
    claim_folder(place / "inside", "p", STORY)
    assert (folder / "holiday.mp4").read_bytes() == b"mine"


def saved_bank(folder: Path) -> bytes:
    save_bank(folder, MemoryBank(FRAMES[:3], dropped=DROPPED[:1]))
    return (folder / "bank.json").read_bytes()


@pytest.fixture(scope="module")
def bank_json(tmp_path_factory) -> bytes:
    return saved_bank(tmp_path_factory.mktemp("bank"))


FILE_NAMES = st.one_of(
    st.sampled_from([
        "1²2.png", "shot_0002_frame_0003_ab.png", "01_02_keyframe0.jpg", "last_frame.jpg", "x.HEIC",
        "bank.json.saving", "shot_9999999999_frame_1.png", "00_00_keyframe9.PNG", ".png", "a.gif",
    ]),
    ODD_TEXT.map(lambda text: text.replace("/", "").replace("\0", "")[:40] + ".png"),
)  # fmt: skip


@examples(350)
@given(st.data())
def test_any_bank_folder_is_one_or_is_told(place, bank_json, data):
    folder = emptied(place / "inside") / "bank"
    saved_bank(folder)
    document = data.draw(
        st.one_of(
            mutated(bank_json),
            JSON.map(lambda v: dump(v).encode("utf-8", "surrogatepass")),
            st.dictionaries(st.sampled_from(["file", "shot", "frame", "name", "edited"]), JSON).map(
                lambda entry: dump(
                    {**json.loads(bank_json), "frames": [entry, entry], "dropped": [entry]}
                ).encode("utf-8", "surrogatepass")
            ),
        )
    )
    (folder / "bank.json").write_bytes(document)
    for name in data.draw(st.lists(FILE_NAMES, max_size=3)):
        content = data.draw(st.one_of(st.binary(max_size=20), st.just(PICTURES["PNG"])))
        with suppress_names():
            (folder / name).write_bytes(content)
    with only_words(document):
        load_bank(folder)
    with only_words(document):
        bank = load_bank(folder, skip_damaged=True)
        save_bank(folder, bank)
        assert len(load_bank(folder, skip_damaged=True).frames) >= len(bank.frames)


@contextmanager
def suppress_names():
    """Names that this file system cannot hold."""
    with suppress(OSError, UnicodeEncodeError):
        yield


def picture_bytes(kind: str) -> bytes:
    written = io.BytesIO()
    options = (
        {"save_all": True, "append_images": [Image.new("RGB", (9, 7))]} if kind == "GIF" else {}
    )
    Image.fromarray(noise_image(1, 7, 9).numpy()).save(written, kind, **options)
    return written.getvalue()


PICTURES = {kind: picture_bytes(kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")}


@examples(2500)
@given(st.data())
def test_any_bytes_are_a_picture_or_are_told(place, data):
    kind = data.draw(st.sampled_from(sorted(PICTURES)))
    path = emptied(place / "inside") / data.draw(st.sampled_from(["a.png", "a.TIF", "a.gif", "a"]))
    path.write_bytes(data.draw(st.one_of(mutated(PICTURES[kind]), st.binary(max_size=64))))
    with only_words():
        pixels = read_picture(path)
        assert pixels.dtype == torch.uint8
        assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS


@pytest.fixture(scope="module")
def lora_bytes(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    module = "blocks.0.self_attn.q"
    save_file(
        {
            f"{module}.lora_down.weight": torch.ones(2, 4),
            f"{module}.lora_up.weight": torch.ones(4, 2),
            f"{module}.alpha": torch.tensor(2.0),
        },
        path,
    )
    return path.read_bytes()


HEADER = st.dictionaries(
    st.sampled_from(["blocks.0.ffn.0.lora_A.weight", "a.alpha", "__metadata__"]) | ODD_TEXT,
    mostly(
        st.fixed_dictionaries({
            "dtype": mostly(st.sampled_from(["F32", "BF16", "I8", "BOOL", "C64", "F8_E4M3", "F4"])),
            "shape": mostly(st.lists(st.integers(0, 4), max_size=3)),
            "data_offsets": mostly(st.lists(st.integers(0, 64), min_size=2, max_size=2)),
        })
    ),
    max_size=3,
)  # fmt: skip


def with_header(header: dict, data: bytes) -> bytes:
    text = dump(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


@examples(1500)
@given(st.data())
def test_any_lora_is_one_or_is_told(place, lora_bytes, data):
    path = emptied(place / "inside") / "lora.safetensors"
    headers = st.builds(with_header, HEADER, st.binary(max_size=64))
    path.write_bytes(data.draw(st.one_of(mutated(lora_bytes), headers, st.binary(max_size=40))))
    for read in (read_state_dict, read_outline):
        with only_words(path.read_bytes()):
            for pair in read_lora(read(path), path.name).values():
                assert np.isfinite(pair.scale())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, bytes]:
    """Checkpoints that write a file when they are run, and whole ones."""
    folder = tmp_path_factory.mktemp("checkpoints")
    # A name of its own would make other inputs of every run.
    target = Path(tempfile.gettempdir()) / f"storymem_fuzz_target_{getpass.getuser()}"
    for left in (target, target.with_suffix(".npy")):
        left.unlink(missing_ok=True)
    state = {"a": torch.ones(2, 3), "b": torch.ones(4).half()}
    torch.save(state, folder / "zip")
    torch.save(state, folder / "old", _use_new_zipfile_serialization=False)
    write_archive(folder / "archive", target)
    zipped_bomb(folder / "bomb", target)
    archive_bomb(folder / "archive_bomb", target)
    yield {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not target.exists()
    assert not target.with_suffix(".npy").exists()


@examples(1200)
@given(st.data())
def test_any_checkpoint_is_numbers_or_is_told(place, checkpoints, data):
    path = emptied(place / "inside") / "weights.pt"
    kind = data.draw(st.sampled_from(sorted(checkpoints)))
    path.write_bytes(data.draw(mutated(checkpoints[kind])))
    with only_words(path.read_bytes()):
        for tensor in read_state_dict(path).values():
            assert tensor.nbytes <= tensor.untyped_storage().nbytes()


@examples(500)
@given(st.data())
def test_any_pickle_in_an_archive_is_numbers_or_is_told(place, checkpoints, data):
    """Damage that zip's own checksums would find is mended, so that the pickle itself is read."""
    path = emptied(place / "inside") / "weights.pt"
    with zipfile.ZipFile(io.BytesIO(checkpoints["archive"])) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in parts if name.endswith("/data.pkl"))
    parts[name] = data.draw(mutated(parts[name]))
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    with only_words(parts):
        read_state_dict(path)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    store = ShotStore(tmp_path_factory.mktemp("store"))
    made, _ = store.commit(
        "ab" * 32, torch.rand(5, 16, 16, 3), MemoryBank(FRAMES[:2]), {"story": "s"}
    )
    return store, made, (made.folder / "record.json").read_bytes()


@examples(600)
@given(st.data())
def test_any_record_is_whole_or_missing(record, data):
    store, made, whole = record
    place_of_bank = store.root / "saved"
    body = json.loads(json.loads(whole)["record"])
    path = st.sampled_from(sorted(body))
    changed = st.builds(lambda name, value: {**body, name: value}, path, JSON)
    frame = st.builds(
        lambda part, name, value: {
            **body,
            "bank": {**body["bank"], part: [{**body["bank"]["frames"][0], name: value}]},
        },
        st.sampled_from(["frames", "dropped"]),
        st.sampled_from(sorted(body["bank"]["frames"][0])),
        JSON,
    )
    window = st.builds(
        lambda name, value: {**body, "bank": {**body["bank"], name: value}},
        st.sampled_from(["max_frames", "sink", "seen"]),
        JSON,
    )
    fact = st.builds(
        lambda name, value: {**body, "facts": {**body["facts"], name: value}},
        st.sampled_from(["story", "label", "prompt", "shot_prompt", "own"]),
        JSON,
    )
    odd = st.one_of(changed, frame, window, fact)
    document = data.draw(st.one_of(mutated(whole), odd.map(sealed)))
    (made.folder / "record.json").write_bytes(document)
    found = store.find(made.key)
    list(store.records_of("s"))
    if found is not None:
        with only_words(document):
            bank = store.load(found).bank
            # What is read can be shown, saved and remembered from.
            json.dumps(view_bank(bank), allow_nan=False).encode()
            save_bank(place_of_bank, bank)
            assert len(bank.remember([FRAMES[2]]).frames) == len(bank.frames) + 1
            shot_memory(bank, STORY, STORY.shots[1])
            store.outline(found)
    (made.folder / "record.json").write_bytes(whole)


def sealed(body: dict) -> bytes:
    """A record with the right checksum, as somebody would write it who means it."""
    import hashlib

    text = json.dumps(body)
    return json.dumps(
        {"sha256": hashlib.sha256(text.encode()).hexdigest(), "record": text}
    ).encode()
