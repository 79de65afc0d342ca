"""Packs the repository as the Registry would, installs it into a bare ComfyUI, and makes a story.

    python tests/tools/try_package.py --comfy CLI --host COMFYUI --python PYTHON

``CLI`` is comfy-cli's command, ``COMFYUI`` a checkout (it is copied, never changed), ``PYTHON`` one
that has the checkout's requirements: what the package requires is installed into it. One needs, for
instance:

    uv venv --seed bare/venv -p 3.13 && uv pip install -p bare/venv -r COMFYUI/requirements.txt
    uv venv cli && uv pip install -p cli comfy-cli

The steps: ``comfy node validate`` and ``comfy node pack`` in a copy of what is committed or added;
the zip unpacked into ``custom_nodes``, as ComfyUI-Manager does with the Registry's; ``pip install
-r``; ``comfy launch`` on the CPU; every node of the schema snapshot in ``/object_info``, every file
of the page served; ``comfy run`` of the shipped tiny workflow, eight shots. Exit code 0 when all of
it was so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
SNAPSHOT = PACK / "tests" / "golden" / "schemas.json"
WORKFLOW = Path("workflows", "storymem_tiny_cpu.json")
SHOTS = 8
NAME = "comfyui-storymem"  # of the folder: the Registry's name of the pack
START_SECONDS, STORY_SECONDS = 300, 1200


def leave_out(folder: str, names: list[str]) -> set[str]:
    """What of a checkout is not copied: its models, what was made with it, other packs."""
    if Path(folder).name == "custom_nodes":
        return set(names)
    is_top = "main.py" in names
    unwanted = {".git", "models", "output", "user", "temp"} if is_top else set()
    return {name for name in names if name in unwanted or name == "__pycache__"}


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*command: str | Path, cwd: Path, env: dict | None = None, seconds: float = 900) -> str:
    """What a command says; it must succeed."""
    result = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, timeout=seconds, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{result.stdout[-3000:]}")
    return result.stdout


def make_zip(comfy: Path, folder: Path) -> Path:
    """The package of what git's index holds."""
    folder.mkdir()
    run("git", "checkout-index", "-a", f"--prefix={folder}/", cwd=PACK)
    run("git", "init", "-q", ".", cwd=folder)
    run("git", "add", "-A", cwd=folder)  # comfy-cli packs what git tracks
    said = run(comfy, "--skip-prompt", "node", "validate", cwd=folder)
    if "All validation checks passed" not in said:
        raise SystemExit(f"comfy node validate complains:\n{said}")
    run(comfy, "--skip-prompt", "node", "pack", cwd=folder)
    return folder / "node.zip"


def install(package: Path, host: Path, python: Path) -> Path:
    """The package among the host's custom nodes, and what it requires in the host's Python."""
    target = host / "custom_nodes" / NAME
    with zipfile.ZipFile(package) as archive:
        archive.extractall(target)
        tell(f"{len(archive.namelist())} files, {package.stat().st_size / 1e6:.1f} MB packed")
    before = packages(python, host)
    run(python, "-m", "pip", "install", "-q", "-r", target / "requirements.txt", cwd=host)
    new = {name: version for name, version in packages(python, host).items()
           if before.get(name) != version}  # fmt: skip
    tell(f"installed: {', '.join(f'{n} {v}' for n, v in sorted(new.items())) or 'nothing'}")
    if replaced := sorted(set(new) & set(before)):
        raise SystemExit(f"installing replaced what the host had: {', '.join(replaced)}")
    return target


def packages(python: Path, cwd: Path) -> dict[str, str]:
    said = run(python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check",
               cwd=cwd)  # fmt: skip
    listed = json.loads(said[said.index("[{") : said.rindex("}]") + 2])
    return {entry["name"]: entry["version"] for entry in listed}


def ask(address: str):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read()


def check_page(address: str, pack: Path) -> None:
    """Every node of the snapshot is there, and every file of the page comes as it was packed."""
    known, wanted = json.loads(ask(f"{address}/object_info")), json.loads(SNAPSHOT.read_text())
    if absent := sorted(set(wanted) - set(known)):
        raise SystemExit(f"nodes that did not load: {', '.join(absent)}")
    files = [path for path in (pack / "web").rglob("*") if path.is_file()]
    for path in files:
        name = urllib.parse.quote(path.relative_to(pack / "web").as_posix())
        if ask(f"{address}/extensions/{NAME}/{name}") != path.read_bytes():
            raise SystemExit(f"{name} is not served as it was packed")
    tell(f"{len(wanted)} nodes, {len(files)} files of the page")


def make_story(comfy: Path, port: int, host: Path, pack: Path) -> None:
    """The shipped tiny workflow through ``comfy run``: a film of eight shots."""
    began = time.monotonic()
    run(
        comfy, "--skip-prompt", "run", "--wait", "--timeout", str(STORY_SECONDS),
        "--host", "127.0.0.1", "--port", str(port), "--workflow", pack / WORKFLOW,
        cwd=host, seconds=STORY_SECONDS + 60,
    )  # fmt: skip
    films = list((host / "output").glob("*/*/*_00001_.mp4"))
    shots = list((host / "output").glob("*/*/shot_*.mp4"))
    if len(films) != 1 or len(shots) != SHOTS:
        raise SystemExit(f"expected a film of {SHOTS} shots, but found {films} and {shots}")
    tell(f"{len(shots)} shots and {films[0].name} in {time.monotonic() - began:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in ("--comfy", "--host", "--python"):
        parser.add_argument(option, type=Path, required=True)
    options = parser.parse_args()
    comfy, python = options.comfy.absolute(), options.python.absolute()
    with tempfile.TemporaryDirectory(prefix="storymem_package_") as folder:
        host = Path(folder, "ComfyUI")
        shutil.copytree(options.host, host, ignore=leave_out, symlinks=True)
        for name in ("models", "output"):
            (host / name).mkdir()
        package = make_zip(comfy, Path(folder, "pack"))
        tell(run(python, "--version", cwd=host).strip())
        pack = install(package, host, python)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = host / "server.log"
        home = python.parent.parent
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        env |= {"VIRTUAL_ENV": str(home), "PATH": f"{python.parent}{os.pathsep}{env['PATH']}"}
        command = [comfy, "--skip-prompt", "--workspace", host, "launch", "--"]
        command += ["--cpu", "--port", port, "--database-url", "sqlite:///:memory:"]
        with open(log, "wb") as stream:
            server = subprocess.Popen(
                [str(word) for word in command], env=env, stdout=stream, stderr=stream,
                start_new_session=True,  # comfy launch has a child, which ends with it
            )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}", server, log)
            check_page(f"http://127.0.0.1:{port}", pack)
            make_story(comfy, port, host, pack)
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
        if "Traceback" in (said := log.read_text(encoding="utf-8", errors="replace")):
            raise SystemExit(f"the server's log has an error:\n{said[-3000:]}")
    return 0


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            ask(f"{address}/system_stats")
        except OSError:
            time.sleep(1)
        else:
            return
    raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
