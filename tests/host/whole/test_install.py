"""Installing and loading the pack leaves the artist's ComfyUI as it was."""

from __future__ import annotations

import importlib.metadata as metadata
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from helpers.host_server import host_path

PACK = Path(__file__).resolve().parents[3]
OFFLINE = re.compile(
    r"No matching distribution|Could not (fetch|find)|ConnectionError|Max retries|Name or service"
    r"|timed out|Temporary failure",
    re.IGNORECASE,
)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of_the_host() -> set[str]:
    """What the host's requirements bring into its environment, with all that those need."""
    from packaging.requirements import Requirement

    text = (host_path() / "requirements.txt").read_text(encoding="utf-8")
    waiting = [line.split("#")[0].strip() for line in text.splitlines()]
    waiting = [line for line in waiting if line and not line.startswith("-")] + [
        "pip",
        "setuptools",
    ]
    found: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = plain(requirement.name)
        if name in found:
            continue
        try:
            waiting += metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # the other checkout's own; pip is asked about it below
        found.add(name)
    return found


@pytest.fixture(scope="module")
def host_environment(tmp_path_factory) -> Path:
    """A Python that says it has what the host has, and no more: the metadata without the code."""
    home = tmp_path_factory.mktemp("host_python")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=120
    )
    python = next(
        path for path in (home / "bin" / "python", home / "Scripts" / "python.exe") if path.exists()
    )
    site = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    names = names_of_the_host()
    for distribution in metadata.distributions():
        if plain(distribution.metadata["Name"]) in names:
            folder = Path(distribution._path)
            target = Path(site) / folder.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "METADATA", target / "METADATA")
    return python


def would_install(python: Path, *requirements: Path) -> dict[str, str]:
    """What ``pip install`` would put in, version by name. Nothing is installed."""
    arguments = [word for path in requirements for word in ("-r", str(path))]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run = subprocess.run(
        [*pip, "install", "--dry-run", "--quiet", "--report", "-", *arguments],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if run.returncode and OFFLINE.search(run.stderr) and "ResolutionImpossible" not in run.stderr:
        pytest.skip(
            f"pip reaches no index, so WHAT IT WOULD INSTALL IS UNTESTED: {run.stderr[-300:]}"
        )
    assert run.returncode == 0, run.stderr[-3000:]
    report = json.loads(run.stdout)
    return {
        plain(item["metadata"]["name"]): item["metadata"]["version"] for item in report["install"]
    }


@pytest.fixture(scope="module")
def alone(host_environment) -> dict[str, str]:
    """What the host's own requirements would bring: nothing, unless this checkout lacks some."""
    return would_install(host_environment, host_path() / "requirements.txt")


def changes(host_environment: Path, alone: dict, ours: Path) -> tuple[dict[str, str], set[str]]:
    """What installing ``ours`` would bring, and what of the host's it would replace."""
    both = would_install(host_environment, host_path() / "requirements.txt", ours)
    site = next(host_environment.parents[1].rglob("site-packages"))
    has = {plain(d.metadata["Name"]) for d in metadata.distributions(path=[str(site)])}
    moved = {name for name, version in alone.items() if both.get(name) != version}
    return both, (set(both) - set(alone)) & has | moved


@pytest.mark.slow
def test_installing_the_pack_changes_no_package_that_the_host_has(host_environment, alone):
    new, replaced = changes(host_environment, alone, PACK / "requirements.txt")
    assert "ftfy" in new  # else nothing was asked
    assert not {"open-clip-torch", "timm"} & set(new)
    assert replaced == set()


@pytest.mark.slow
def test_a_package_that_would_be_replaced_is_noticed(host_environment, alone, tmp_path):
    (tmp_path / "requirements.txt").write_text("safetensors<0.5\n")
    if metadata.version("safetensors") < "0.5":
        pytest.skip("the host has an old one itself")
    assert "safetensors" in changes(host_environment, alone, tmp_path / "requirements.txt")[1]


WATCH = """
import asyncio, json, sys, time
sys.argv = ["main.py", "--cpu", "--base-directory", sys.argv[2]]
sys.path.insert(0, "HOST")
import comfy.options
comfy.options.enable_args_parsing()
import utils.extra_config
import nodes
seen = []
WATCHED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system",
           "os.exec", "os.posix_spawn", "os.fork", "urllib.Request", "webbrowser.open")
def watch(event, args):
    if event in WATCHED:
        seen.append([event, repr(args)[:200]])
sys.addaudithook(watch)
begin = time.perf_counter()
loaded = asyncio.run(nodes.load_custom_node("PACK"))
took = time.perf_counter() - begin
print(json.dumps({"loaded": loaded, "seen": seen, "seconds": took}))
"""


def test_loading_the_pack_opens_no_connection_and_starts_no_process(tmp_path):
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (tmp_path / name).mkdir()
    code = WATCH.replace("HOST", str(host_path())).replace("PACK", str(PACK))
    run = subprocess.run(
        [sys.executable, "-c", code, "-", str(tmp_path)],
        cwd=host_path(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["loaded"]
    assert told["seen"] == []
