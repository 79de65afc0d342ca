"""A new version of the code that makes shots makes new shots; other code does not."""

from __future__ import annotations

import pytest

from storymem.code_version import (
    ALWAYS,
    NO_INFLUENCE,
    PACK,
    _read,
    code_version,
    digest_of_code,
    module_of,
)


def test_the_version_covers_what_a_module_imports():
    found = set(_read("nodes/keyframes.py")[1])
    assert "storymem/keyframes.py" in found
    assert any(name.startswith("nodes/") for name in found)
    assert code_version(["nodes/sampling.py"]) != code_version()
    assert code_version(["nodes/sampling.py"]) != code_version(["nodes/lora.py"])


def test_the_order_of_modules_does_not_matter():
    names = ["nodes/sampling.py", "nodes/keyframes.py"]
    assert code_version(names) == code_version(reversed(names))


def test_every_listed_file_is_there():
    assert [name for name in (*NO_INFLUENCE, *ALWAYS) if not (PACK / name).is_file()] == []


@pytest.fixture(autouse=True)
def _read_anew():
    """Nothing that a test reads stays for the next one."""
    _read.cache_clear()
    yield
    _read.cache_clear()


def test_comments_and_blank_lines_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr("storymem.code_version.PACK", tmp_path)
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("# why\n\nx = 1\n")
    (tmp_path / "c.py").write_text("x = 2\n")
    assert _read("a.py")[0] == _read("b.py")[0] != _read("c.py")[0]


def test_finished_shots_of_the_first_version_stay_finished(golden):
    """Does a change of yours show in a shot's pixels? Then leave its file out of the list
    (storymem/code_as_before.json), and shots that it decides are made again. If it does not, and
    you have looked at the whole diff: python tests/make_code_as_before.py COMMIT."""
    known = golden("code_version.json")
    assert {name: code_version([name]) for name in known} == known


def test_a_listed_file_that_is_changed_again_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("storymem.code_version.PACK", tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    (tmp_path / "b.py").write_text("x = 3\n")
    listed = {"now": digest_of_code("x = 2\n"), "then": "as before", "imports": ["c.py"]}
    table = {"a.py": listed, "b.py": listed}
    monkeypatch.setattr("storymem.code_version._as_before", lambda: table)
    assert _read("a.py") == ("as before", ("c.py",))
    assert _read("b.py") == (digest_of_code("x = 3\n"), ())


def test_a_file_that_is_new_in_a_listed_one_counts_when_it_is_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("storymem.code_version.PACK", tmp_path)
    monkeypatch.setattr("storymem.code_version.ALWAYS", ())
    (tmp_path / "a.py").write_text("x = 1\n")
    before = code_version(["a.py"])
    (tmp_path / "a.py").write_text("from .new import x\nfrom .other import y\n")
    (tmp_path / "new.py").write_text("x = 1\n")
    (tmp_path / "other.py").write_text("y = 1\n")
    _read.cache_clear()
    now, new = (digest_of_code((tmp_path / name).read_text()) for name in ("a.py", "new.py"))
    table = {
        "a.py": {"now": now, "then": digest_of_code("x = 1\n"), "imports": []},
        "new.py": {"now": new, "then": None, "imports": []},
    }
    monkeypatch.setattr("storymem.code_version._as_before", lambda: table)
    assert code_version(["a.py"]) == before
    _read.cache_clear()
    (tmp_path / "new.py").write_text("x = 2\n")
    assert code_version(["a.py"]) != before


def test_files_outside_the_pack_are_not_its_modules():
    assert module_of(str(PACK / "nodes" / "lora.py")) == "nodes/lora.py"
    assert module_of("/usr/lib/python3/os.py") is None
    assert module_of(None) is None
