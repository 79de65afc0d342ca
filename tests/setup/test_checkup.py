"""The whole report: each part is there, one fault hides no other, and nothing private is pasted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.not_empty import not_empty
from helpers.record_files import write_body
from helpers.sparse_weights import lora_shapes, write_safetensors
from storymem.loop.time_left import Timed, Work
from storymem.setup import checkup, fit, host_folders, machine, memory, packs
from storymem.setup.checkup import CheckupInputs, check
from storymem.setup.fit import Asked, asked_of, look_at_fit
from storymem.setup.kinds import FileKind
from storymem.setup.machine import HostFacts, look_at_machine
from storymem.setup.memory import Card, Memory
from storymem.setup.model_files import ModelFile
from storymem.setup.records import look_at_records
from storymem.setup.report import Finding, Report, Section
from storymem.setup.workflow import read_nodes

PACK = Path(__file__).resolve().parents[2]
SHIPPED = json.loads((PACK / "workflows" / "storymem_story.json").read_text("utf-8"))
SMALL = json.loads((PACK / "workflows" / "storymem_low_vram.json").read_text("utf-8"))
GIB = 2**30
SECRETS = ("verysecret", "Mara", "lighthouse", "Lighthouse")


def sentences(section: Section, *levels: str) -> list[str]:
    return [f.sentence() for f in section.findings if not levels or f.level in levels]


# --- the report ---------------------------------------------------------------------------------


def test_a_finding_without_its_values_is_never_told():
    with pytest.raises(KeyError):
        Finding("ok", "{number} of them")
    with pytest.raises(ValueError, match="level must be one of"):
        Finding("bad", "text")


def test_names_stand_only_where_they_are_asked_for():
    odd = Finding("note", "x", private={"file": "a\x1b[31m\u202eb é"})
    assert odd.sentence(names=True) == r"x [a\x1b[31m\u202eb é]"  # nothing steers a terminal
    finding = Finding("warning", "{n} files", {"n": 2}, {"file": "a\nb\udcff"})
    report = Report((Section("files", "Files", (finding,)), Section("x", "X")))
    assert report.as_text() == "Files\n  WARNING 2 files\n\nX\n"
    assert "[a b\\udcff]" in report.as_text(names=True)
    told = report.as_dict()
    assert told["sections"][0]["findings"][0]["private"] == {"file": "a b\\udcff"}
    assert told["text"] == report.as_text()
    assert (told["level"], told["sections"][1]["level"]) == ("warning", "ok")
    assert report.as_dict(names=False)["sections"][0]["findings"][0]["private"] == {}
    json.dumps(told).encode()


@pytest.fixture
def models(tmp_path):
    """Good, wrong, damaged, renamed and missing files below a folder with a name of its own."""
    place = tmp_path / "verysecret"
    write_safetensors(place / "loras" / "verysecret.safetensors", lora_shapes(),
                      notes={"ss_verysecret": "verysecret"})  # fmt: skip
    write_safetensors(place / "loras" / "verysecret2.safetensors", {"verysecret.w": (2, 2)})
    (place / "vae").mkdir()
    (place / "vae" / "verysecret.safetensors").write_text("<html>verysecret</html>")
    (place / "vae" / "verysecret.pth").write_bytes(b"verysecret")
    (place / "vae" / "link-verysecret.pt").symlink_to(tmp_path / "gone-verysecret")
    (place / "custom_nodes" / "verysecret-nodes").mkdir(parents=True)
    return place


def everything(models) -> CheckupInputs:
    workflow = json.loads(json.dumps(SHIPPED).replace("wan_2.1_vae", "verysecret"))
    workflow["nodes"].append({"id": 99, "type": "verysecretNode", "mode": 0})
    return CheckupInputs(
        folders={name: [models / name] for name in ("loras", "vae")},
        host=HostFacts("0.33.0", "1.49", "pytorch", ("--lowvram",), (Card("H", 9, 9),),
                       ("verysecret-nodes",), ("verysecret-failed",)),
        output=models, temp=models / "verysecret-temp", workflow=workflow,
        node_types={"UNETLoader"}, custom_nodes=[models / "custom_nodes"],
    )  # fmt: skip


def test_nothing_private_is_in_what_is_pasted(models):
    report = check(everything(models))
    text = report.as_text() + json.dumps(report.as_dict(names=False))
    assert [word for word in SECRETS if word in text] == []
    assert str(models) not in text
    assert "verysecret.safetensors" in report.as_text(names=True)


def test_every_part_is_there_and_says_what_it_found(models):
    report = check(everything(models))
    assert [section.key for section in report.sections] == [
        "machine", "files", "packs", "workflow", "fit", "records",
    ]  # fmt: skip
    assert report.level == "error"
    files = report.sections[1]
    assert [f.level for f in files.findings] == ["warning"] * 3 + ["note", "ok"]
    assert "StoryMem LoRA" in files.findings[-1].sentence()


def test_a_part_that_fails_hides_no_other(models, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("verysecret")

    monkeypatch.setattr(checkup, "find_files", fail)
    monkeypatch.setattr(machine, "main_memory", fail)
    report = check(everything(models))
    assert [len(section.findings) > 0 for section in report.sections] == [True] * 6
    assert "download" not in report.as_text()  # what is there is not known
    assert "the look at the model folders failed" in report.as_text()
    for section in report.sections[:2]:
        assert "could not be looked at (RuntimeError)" in section.findings[0].sentence()
    assert "verysecret" not in report.as_text()


def test_a_checkup_can_be_ended_from_outside(models):
    class Cancelled(BaseException):
        pass

    def tell(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        check(CheckupInputs(folders={"vae": [models / "vae"]}, tell=tell))


def test_nothing_is_written_or_changed(models):
    def state():
        return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns)
                for p in not_empty(models.rglob("*")) if not p.is_dir()}  # fmt: skip

    before = state()
    check(everything(models))
    assert state() == before


# --- machine ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [("0.33.0", "ok", "0.33.0"), ("0.18.1", "ok", "0.18.1"), ("0.18.0", "warning", "decoder"),
     ("0.17.9", "error", "too old"), ("v0.3.64", "error", "too old"), ("", "note", "not known")],
)  # fmt: skip
def test_versions_of_the_host_are_judged(version, level, said):
    found = [f for f in look_at_machine(HostFacts(version, cards=())).findings
             if "ComfyUI" in f.text]  # fmt: skip
    assert (found[0].level, said in found[0].sentence()) == (level, True)


def test_packages_that_are_missing_or_old_are_told(monkeypatch):
    versions = {"torch": "2.5.1+cu124", "av": "12.0", "open_clip_torch": "", "ftfy": "",
                "safetensors": "0.5", "opentimelineio": "", "transformers": "4.57"}  # fmt: skip
    monkeypatch.setattr(machine, "installed_version", versions.get)
    section = look_at_machine(HostFacts("0.33.0", cards=()))
    told = sentences(section, "warning", "error", "note")
    assert "ftfy is not installed; keyframes by CLIP need it" in told
    assert not [one for one in told if "open_clip" in one]  # the host has CLIP itself
    outside = sentences(look_at_machine(), "warning")
    assert "open_clip_torch is not installed; keyframes by CLIP need it" in outside
    assert "av 12.0 is too old: 14 or newer is needed" in told
    assert any(one.startswith("torch 2.5.1+cu124 could run code") for one in told)
    found = list(machine._packages((3, 14)))
    assert "has no release for this Python" in [f.sentence() for f in found][-1]


def test_a_torch_without_cuda_on_a_machine_with_a_card_is_an_error(monkeypatch):
    import torch

    monkeypatch.setattr(machine, "nvidia_cards", lambda: [Card("NVIDIA X", 24 * GIB, 20 * GIB)])
    monkeypatch.setattr(torch.version, "cuda", None)
    errors = sentences(look_at_machine(None), "error")
    assert [e for e in errors if "built without CUDA" in e]
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert not [e for e in sentences(look_at_machine(None), "error") if "CUDA" in e]
    assert "card 1: NVIDIA X, 24.0 GiB, 20.0 GiB free now" in sentences(look_at_machine(None))


def test_cards_are_read_from_the_drivers_answer():
    answer = "NVIDIA GeForce RTX 4090, 24564, 23028\nNVIDIA GB10, [N/A], [N/A]\nnonsense\n"
    first = Card("NVIDIA GeForce RTX 4090", 24564 * 2**20, 23028 * 2**20)
    assert memory.read_cards(answer) == [first]
    shared = memory.read_cards(answer, Memory(128, 100))
    assert shared == [first, Card("NVIDIA GB10", 128, 100)]


def test_cards_without_nvidias_driver_are_asked_through_torch(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (5 + number, 9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "AMD Radeon")
    monkeypatch.setattr(machine, "nvidia_cards", list)
    assert machine.cards_of(None) == [Card("AMD Radeon", 9, 5)]


def test_a_container_has_the_memory_that_it_may_use(tmp_path):
    whole = memory.main_memory(cgroup=tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert memory.main_memory(cgroup=tmp_path).total == whole.total
    (tmp_path / "memory.max").write_text(f"{2**20}\n")
    assert memory.main_memory(cgroup=tmp_path) == Memory(2**20, min(whole.free, 2**20 - 5))


def test_memory_is_read_without_psutil(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    (tmp_path / "m").write_text("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 40 kB\n")
    assert memory.main_memory(tmp_path / "m", tmp_path) == Memory(102400, 40960)
    assert memory.main_memory(tmp_path / "none", tmp_path) is None


def test_a_network_disk_is_known_by_the_innermost_mount(tmp_path):
    mounts = tmp_path / "mounts"
    rows = f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\nodd\n"
    mounts.write_text(rows)
    assert memory.is_on_network(tmp_path / "output", mounts)
    mounts.write_text(f"{rows}/dev/b {tmp_path}/output ext4 rw 0 0\n")
    assert not memory.is_on_network(tmp_path / "output", mounts)
    assert not memory.is_on_network(tmp_path, tmp_path / "gone")


def test_folders_that_cannot_be_written_or_are_full_or_far_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "is_writable", lambda _: False)
    monkeypatch.setattr(machine, "is_on_network", lambda _: True)
    monkeypatch.setattr(machine, "free_space", lambda _: 10**9)
    places = machine.Places({"output": tmp_path, "temp": tmp_path / "gone"})
    told = sentences(look_at_machine(None, places), "error", "warning")
    for said in (
        "nothing can be written to the output", "network disk", "1 GB free, which is little",
        "the temp folder is not there",
    ):  # fmt: skip
        assert [one for one in told if said in one], said


def test_writing_is_tried_and_leaves_nothing(tmp_path):
    assert memory.is_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not memory.is_writable(tmp_path / "gone")
    assert not memory.is_writable(Path("/proc"))


# --- packs --------------------------------------------------------------------------------------


def test_two_copies_and_a_name_that_is_not_served_are_told(tmp_path):
    for name in ("ComfyUI-StoryMem", "StoryMem Kopie", "Other"):
        (tmp_path / name).mkdir()
        text = "comfyui-storymem" if "StoryMem" in name else "other"
        (tmp_path / name / "pyproject.toml").write_text(f'[project]\nname = "{text}"\n')
    (tmp_path / "COMFYUI-MultiGPU").mkdir()
    (tmp_path / "verysecret-multigpu").mkdir()
    section = packs.look_at_packs([tmp_path], None)
    assert [f.level for f in section.findings] == ["error", "error", "note"]
    assert "2 times" in section.findings[0].sentence()
    told = section.findings[2].sentence()
    assert told.startswith("ComfyUI-MultiGPU replaces which device")  # as it is published
    (tmp_path / "StoryMem Kopie").rename(tmp_path / "copy.disabled")
    assert sentences(packs.look_at_packs([tmp_path], None), "error") == []
    assert packs.is_this_pack(PACK)


def test_packs_are_counted_without_this_one_and_the_hosts_own_extras(tmp_path):
    for name in ("ComfyUI-StoryMem", "one", "two", "three.disabled"):
        (tmp_path / name).mkdir()
    (tmp_path / "ComfyUI-StoryMem" / "pyproject.toml").write_text('name = "comfyui-storymem"')
    host = HostFacts(packs=("ComfyUI-StoryMem", "one", "nodes_wan", "nodes_mask"))
    counts = [packs.look_at_packs([tmp_path], told).findings[-1].values["count"]
              for told in (None, host)]  # fmt: skip
    assert counts == [2, 1]


# --- what fits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflow", "free", "level"),
    [  # as measured: docs/performance.md, "On a card with less memory"
        (SHIPPED, 23, "ok"), (SHIPPED, 15, "ok"), (SHIPPED, 11, "ok"), (SHIPPED, 7, "warning"),
        (SMALL, 11, "ok"), (SMALL, 7, "ok"), (SMALL, 5, "warning"),
    ],
)  # fmt: skip
def test_what_was_measured_to_fit_fits_and_what_did_not_does_not(workflow, free, level):
    (finding,) = [f for f in look_at_fit(workflow, [], [Card("X", free * GIB, free * GIB)],
                                         None).findings if "working" in f.values]  # fmt: skip
    assert finding.level == level
    runs_out = "will run out" in finding.text
    assert runs_out == (workflow is SHIPPED and free == 7)


def test_working_memory_is_what_was_measured():
    assert Asked(832, 480, 81, 40, 0).working_bytes == pytest.approx(2.98 * GIB, rel=0.01)
    assert Asked(832, 480, 81, 40, 3).working_bytes == pytest.approx(3.41 * GIB, rel=0.01)
    assert Asked(832, 480, 81, 40, 10).working_bytes == pytest.approx(4.40 * GIB, rel=0.001)


def test_a_disk_that_is_too_full_for_the_story_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "free_space", lambda _: 10**8)
    (told,) = sentences(look_at_fit(SHIPPED, [], [], tmp_path), "warning")
    assert told.startswith("disk for 4 shots, all made anew: about 70 MB")
    assert "unless enough of them are finished" in told  # it may be a film that is nearly done
    masters = json.loads(json.dumps(SHIPPED))
    for node in masters["nodes"]:
        if node["type"] == "StoryMemShotLoopClose":
            index = [part["name"] for part in node["inputs"] if "widget" in part].index("codec")
            node["widgets_values"][index] = "prores"
    (told,) = sentences(look_at_fit(masters, [], [], tmp_path), "warning")
    assert told.startswith("disk for 4 shots, all made anew: about 303 MB")


@pytest.mark.parametrize(("shots", "said"), [(1, "1 shot,"), (2, "2 shots,")])
def test_shots_are_counted_in_good_english(tmp_path, shots, said):
    script = "\n---\n".join(["a cat"] * shots)
    (told,) = sentences(look_at_fit(story(script), [], [], tmp_path), "ok")
    assert told.startswith(f"disk for {said} all made anew")


def test_a_script_that_is_not_known_counts_as_no_number_of_shots(tmp_path):
    (told,) = sentences(look_at_fit(story(["7", 0]), [], [], tmp_path), "ok")
    assert told.startswith("how many shots the script has is not known here; each takes about")


def story(script, **more) -> dict:
    sampler = {"width": 832, "height": 480, "length": 81, "steps": 20, **more}
    return {
        "1": {"class_type": "StoryMemLoadStory", "inputs": {"script": script}},
        "2": {"class_type": "StoryMemM2VSampler", "inputs": sampler},
        "3": {"class_type": "StoryMemMemoryBank", "inputs": {"max_frames": 10}},
    }


def test_memory_frames_count_where_a_bank_is_wired_alone():
    nodes = [read_nodes(story("a cat", **more)) for more in ({}, {"bank": ["3", 0]})]
    assert [asked_of(one).memory for one in nodes] == [0, 10]


def on_card(*cards: Card) -> Finding:
    (found,) = [f for f in look_at_fit(SHIPPED, [], cards, None).findings if "least" in f.values]
    return found


def test_what_the_host_holds_of_a_card_counts_as_free_for_its_run():
    assert on_card(Card("X", 24 * GIB, GIB)).level == "warning"
    assert on_card(Card("X", 24 * GIB, GIB, held=20 * GIB)).level == "ok"
    assert on_card(Card("X", 6 * GIB, 5 * GIB, held=20 * GIB)).values["free"] == "6.0 GiB"
    text = look_at_machine(HostFacts("0.33.0", cards=(Card("X", 24 * GIB, GIB, held=20 * GIB),)))
    assert "card 1: X, 24.0 GiB, 1.0 GiB free now, and 20.0 GiB that ComfyUI holds and frees " \
        "for a run" in sentences(text)  # fmt: skip


def test_the_card_that_is_sampled_on_is_the_one_that_must_have_room():
    large = Card("large", 80 * GIB, 80 * GIB)
    assert on_card(Card("small", 8 * GIB, 4 * GIB), large).level == "warning"
    cards = (large, Card("other", 8 * GIB, None))
    assert on_card(*cards).level == "ok"
    told = sentences(look_at_machine(HostFacts("0.33.0", cards=cards)))
    assert [one for one in told if one.startswith("card ")] == [
        "card 1: large, 80.0 GiB, 80.0 GiB free now",
        "card 2: other, 8.0 GiB",
    ]


def test_memory_that_is_used_now_is_no_warning(monkeypatch):
    """What is in it may be the host's own models, which a run frees."""
    monkeypatch.setattr(fit, "main_memory", lambda: Memory(128 * GIB, GIB))
    high = "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors"
    kind = FileKind("i2v_a14b", size=14 * 10**9)
    file = ModelFile("diffusion_models", 1, high, Path("/x"), kind)
    (found,) = [f for f in look_at_fit(SHIPPED, [file], [], None).findings if "RAM" in f.text]
    assert found.level == "ok"


# --- records ------------------------------------------------------------------------------------


def record(store: Path, number: int, timed: Timed) -> None:
    key = f"{number:064x}"
    folder = store / "shots" / key[:2] / key
    folder.mkdir(parents=True)
    facts = {"prompt": "verysecret", "work": timed.as_fact()}
    write_body(folder, {"format": 1, "key": key, "frames": 81, "files": {}, "facts": facts})
    os.utime(folder, (number, number))


def test_minutes_a_shot_are_those_of_this_machines_records(tmp_path):
    store, here, other = tmp_path / ".storymem", "a" * 16, "b" * 16
    work = Work(81, 832, 480, 10, 40)
    record(store, 3, Timed(work, 900.0, here, "c" * 16, finished=30))
    record(store, 2, Timed(work, 5000.0, here, "c" * 16, first=True, finished=20))
    record(store, 1, Timed(work, 60.0, other, "c" * 16, finished=10))
    section = look_at_records(tmp_path, here, SHIPPED)
    assert sentences(section) == [
        "832x480, 81 frames, 40 steps, 10 memory frames: 15 min a shot, by 1 shot",
        "this workflow: about 15 min a shot once 10 memory frames are full, if its models are "
        "those of the newest shot",
    ]
    assert len(sentences(look_at_records(tmp_path))) == 2
    assert "of another machine" in sentences(look_at_records(tmp_path, "d" * 16))[0]
    assert "nothing is known yet" in sentences(look_at_records(Path("/gone/a/b"), here))[0]
    assert sentences(look_at_records(tmp_path / "my_story", here)) == sentences(section)[:1]


# --- a ComfyUI seen from outside ----------------------------------------------------------------


def test_extra_model_paths_are_read_as_the_host_reads_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "elsewhere")
    extra = tmp_path / "extra_model_paths.yaml"
    extra.write_text(
        "a:\n  base_path: $PLACE/\n  is_default: true\n  loras: l\n  clip: |\n    t1/\n    t2/\n"
        f"b:\n  vae: {tmp_path}/v\nc:\n"
    )
    found = host_folders.folders_of(tmp_path / "models", extra)
    (told,) = found.findings
    assert (told.level, "base_path" in told.text) == ("note", True)  # nobody made that folder
    (tmp_path / "elsewhere").mkdir()
    assert host_folders.folders_of(tmp_path / "models", extra).findings == []
    assert found.folders["loras"] == [tmp_path / "models/loras", tmp_path / "elsewhere/l"]
    assert found.folders["text_encoders"][2:] == [
        tmp_path / "elsewhere/t1",
        tmp_path / "elsewhere/t2",
    ]
    assert found.folders["vae"][-1] == tmp_path / "v"


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- a\n- b",
        "text",
        "!!python/object/apply:os.system ['touch ran']",
        "\x00",
        "a: !!bool x",
        'a: !!int ""',
        "a: !!timestamp x",
    ],
)
def test_an_extra_model_paths_that_is_none_is_told_and_never_run(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.yaml").write_text(text)
    found = host_folders.folders_of(tmp_path, tmp_path / "e.yaml")
    assert [f.level for f in found.findings] == ["error"]
    assert not (tmp_path / "ran").exists()


# --- the command --------------------------------------------------------------------------------


def doctor(*options: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "storymem", "doctor", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PACK, check=False)


@pytest.mark.slow
def test_the_command_says_what_lacks_and_its_exit_code(tmp_path):
    home = tmp_path / "verysecret"
    (home / "output").mkdir(parents=True)
    (home / "custom_nodes").mkdir()
    (home / "comfyui_version.py").write_text('__version__ = "0.33.0"\n')
    write_safetensors(home / "models/loras/verysecret.safetensors", lora_shapes())
    run = doctor("--comfyui", home)
    assert (run.returncode, run.stderr) == (0, "")
    assert "ComfyUI 0.33.0" in run.stdout
    assert "verysecret" not in run.stdout
    run = doctor("--comfyui", home, "--workflow", PACK / "workflows/storymem_story.json", "--names")
    assert run.returncode == 1
    assert "verysecret.safetensors" in run.stdout
    run = doctor("--models", home / "models", "--json")
    told = json.loads(run.stdout)
    assert "verysecret" not in run.stdout
    assert {"machine", "files"} == {section["key"] for section in told["sections"]}


@pytest.mark.slow
def test_the_tiny_workflow_lacks_nothing_anywhere(tmp_path):
    (tmp_path / "models").mkdir()
    workflow = PACK / "workflows/storymem_tiny_cpu.json"
    run = doctor("--comfyui", tmp_path, "--workflow", workflow)
    assert not re.search(r"ERROR\s+the file", run.stdout)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--comfyui", "gone"], "--comfyui must be a folder"),
        (["--comfyui", "."], "has no models"),
        (["--models", ".", "--workflow", "gone"], "--workflow gone cannot be read"),
        (["--models", ".", "--workflow", "bad.json"], "cannot be read"),
        (["--models", ".", "--workflow", "5.json"], "5.json cannot be read: it is no workflow"),
        (["--models", ".", "--workflow", "/dev/zero"], "--workflow /dev/zero cannot be read"),
    ],
)
def test_wrong_options_are_refused(tmp_path, monkeypatch, capsys, caplog, options, said):
    import argparse

    from storymem.cli import doctor as command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "5.json").write_text("5")
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    assert command.run(parser.parse_args(options)) == 2
    assert said in caplog.text
    assert capsys.readouterr().out == ""
