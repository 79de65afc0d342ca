"""What somebody sees who starts in another Python, or for the first time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storymem import __main__ as program
from storymem import try_it
from storymem.files import packages

PACK = Path(__file__).resolve().parents[2]


def bare(*arguments: str) -> subprocess.CompletedProcess:
    """A Python that has the standard library and nothing else."""
    command = [sys.executable, "-S", *arguments]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(command, cwd=PACK, env=env, capture_output=True, text=True)


def test_help_needs_no_package():
    told = bare("-m", "storymem", "--help")
    assert told.returncode == 0
    said = " ".join(told.stdout.split())
    assert all(words in said for words in program.COMMANDS.values())


@pytest.mark.parametrize("command", [name for name in program.COMMANDS if name != "doctor"])
def test_a_python_without_packages_is_named_with_what_to_do(command):
    told = bare("-m", "storymem", command, "somewhere")
    assert told.returncode == 2
    first, *rest = told.stderr.splitlines()
    assert first.startswith("error: this Python lacks torch, numpy, Pillow, av")
    assert first.endswith(f": {sys.executable}")
    assert ("diffusers" in first) == (command in ("run", "train", "compare"))
    assert any("pip install torch -r" in line or " -m storymem" in line for line in rest)
    assert "Traceback" not in told.stderr


def test_the_doctor_looks_at_what_it_can_in_a_python_without_packages(tmp_path):
    """It is asked where something does not work."""
    (tmp_path / "models").mkdir()
    told = bare("-m", "storymem", "doctor", "--comfyui", str(tmp_path))
    assert told.returncode == 1
    assert told.stderr.startswith("error: this Python lacks torch, numpy, Pillow, av, einops")
    for said in ("torch is not installed", "models and workflows were not looked at", "Python 3"):
        assert said in told.stdout
    assert "Traceback" not in told.stderr + told.stdout


def test_the_doctor_tells_of_a_package_that_does_not_start(tmp_path):
    """As a torch whose libraries are not there: OSError while it is imported."""
    (tmp_path / "numpy.py").write_text("raise OSError('[WinError 126] /home/mara/fbgemm.dll')")
    command = [sys.executable, "-m", "storymem", "doctor"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACK)])}
    told = subprocess.run(command, cwd=PACK, env=env, capture_output=True, text=True)
    assert told.returncode == 1
    assert "cannot be imported (OSError)" in told.stdout
    assert "mara" not in told.stdout
    assert "Traceback" not in told.stderr


def test_the_demo_is_offered_a_python_of_its_own():
    told = bare("-m", "storymem", "run", "--tiny", "--out", "x").stderr
    assert "storymem/try_it.py" in told or f"{packages.OWN_FOLDER}" in told


@pytest.mark.parametrize("lacking", ["PIL", "av", "tqdm", "diffusers"])
def test_a_python_with_some_of_the_packages_is_told_the_others(lacking, monkeypatch, capsys):
    monkeypatch.setattr(program, "missing", lambda names: [n for n in names if n == lacking])
    assert program.main(["run", "--tiny", "--out", "x"]) == 2
    name = packages.NAMES.get(lacking, lacking)
    assert f"error: this Python lacks {name}: {sys.executable}\n" in capsys.readouterr().err


def test_a_package_that_only_some_work_needs_is_named_when_it_is_missed(monkeypatch, capsys):
    from storymem.cli import sheet

    def run(options):
        import a_package_that_nobody_has

        return a_package_that_nobody_has

    monkeypatch.setattr(sheet, "run", run)
    assert program.main(["sheet", "x"]) == 1
    assert "this Python lacks a_package_that_nobody_has" in capsys.readouterr().err


def test_an_import_that_the_pack_got_wrong_stays_an_error(monkeypatch):
    from storymem.cli import sheet

    def run(options):
        raise ModuleNotFoundError("no storymem.gone", name="storymem.gone")

    monkeypatch.setattr(sheet, "run", run)
    with pytest.raises(ModuleNotFoundError):
        program.main(["sheet", "x"])


def own_python(folder: Path, *modules: str) -> Path:
    """A folder like the one that try_it.py sets up."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    home = folder / ("Lib" if os.name == "nt" else "lib/python3.11") / "site-packages"
    python.parent.mkdir(parents=True)
    python.touch()
    for module in modules:
        (home / module).mkdir(parents=True)
    return python


def test_the_python_that_try_it_set_up_is_the_one_to_use(monkeypatch, tmp_path):
    python = own_python(tmp_path / "own folder", "PIL", "diffusers")
    monkeypatch.setattr(packages, "OWN_FOLDER", tmp_path / "own folder")
    told = packages.explain_missing(["PIL"], ["run", "my story.txt", "--tiny"])
    command = packages.quoted([str(python), "-m", "storymem", "run", "my story.txt", "--tiny"])
    assert told.splitlines()[-1] == f"  {command}"
    assert str(python) not in packages.explain_missing(["peft"])  # it lacks that one itself


def test_a_python_of_the_system_gets_one_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "OWN_FOLDER", tmp_path / ".venv")
    monkeypatch.setattr(packages, "_is_managed", lambda: True)
    making, installing = packages.install_commands()
    assert making.endswith(f"-m venv {packages.quoted([str(tmp_path / '.venv')])}")
    assert installing.startswith(packages.quoted([str(tmp_path / ".venv")]))


@pytest.mark.parametrize(
    ("version", "is_told"), [((3, 9), True), ((3, 10), False), ((3, 13), False)]
)
def test_a_python_that_is_too_old_is_named(version, is_told):
    told = packages.python_too_old(version)
    assert bool(told) == is_told
    assert (sys.executable in told) == is_told


# --- try_it.py -----------------------------------------------------------------------------------


@pytest.fixture
def nothing_is_installed(monkeypatch):
    monkeypatch.setattr(try_it, "set_up", None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no script"),
        ("", "cannot be read as a script"),
        ("Bomo jumps\nreference: a.png\n", ""),
        ('{"shots": 3}', "cannot be read as a script"),
    ],
    ids=["missing", "empty", "plain", "broken"],
)
def test_a_script_of_ones_own_is_looked_at_before_anything_is_installed(
    nothing_is_installed, tmp_path, capsys, content, words
):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_text(content)
    if words:
        assert try_it.main([str(path), "--out", str(tmp_path / "out")]) == try_it.REFUSED
        assert not (tmp_path / "out").exists()
    else:
        assert try_it.read_script(str(path)) == path


def test_the_scripts_words_go_where_the_demos_were(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Bomo jumps, beach\n", encoding="utf-16")
    prompt = {"1": {"class_type": "StoryMemLoadStory", "inputs": {"script": "demo"}},
              "2": {"class_type": "Other", "inputs": {}}}  # fmt: skip
    try_it.put_script(prompt, path)
    assert prompt["1"]["inputs"]["script"] == "Bomo jumps, beach\n"


def test_a_headless_try_announces_everything_once(monkeypatch, tmp_path, caplog):
    called = []
    monkeypatch.setattr(try_it, "run_module", lambda python, *more: called.append(more))
    monkeypatch.setattr(try_it, "set_up", lambda *_: "python")
    caplog.set_level("INFO", logger="storymem")
    path = tmp_path / "mine.txt"
    path.write_text("Bomo jumps\n")
    out = tmp_path / "out"
    assert try_it.main([str(path), "--headless", "--out", str(out)]) == 0
    # What it made is told by the runner.
    assert called == [("run", str(path), "--tiny", "--device", "cpu", "--out", str(out))]
    assert "contact" not in caplog.text


def test_warnings_in_the_servers_log_are_shown(tmp_path):
    log = tmp_path / "server.log"
    log.write_text("[INFO] StoryMem: fine\n[1m[WARNING] StoryMem: no word of it\n[WARNING] other\n")
    with open(log, "a") as file:
        file.write(
            f"[WARNING] StoryMem: this script has {try_it.SHARED_FOLDER}: all such stories\n"
        )
    assert try_it.Page(None, "", log).warnings() == ["no word of it"]
    source = "".join(path.read_text("utf-8") for path in (PACK / "storymem/film").glob("*.py"))
    assert try_it.SHARED_FOLDER in source.replace('"\n            "', "")
