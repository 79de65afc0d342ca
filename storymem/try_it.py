"""Try StoryMem without a GPU: ``python storymem/try_it.py`` with any Python from 3.10 to 3.13.

Makes a virtual environment in ``.venv`` of the pack's folder, installs what is needed into it (and
touches nothing else), and makes the demo story on the tiny model, on the CPU. With a ComfyUI at
COMFYUI_PATH or ~/ComfyUI the story is made by its own executor from the shipped workflow
``workflows/storymem_tiny_cpu.json``, else by the headless runner. ``try_it.py my_story.txt`` makes
a story of your own, in the tiny model's few words (docs/tiny-model.md); ``try_it.py tests`` sets
the same up and runs the tests.

exit codes: 0 done, 1 unexpected, 2 something is missing or in the way (nothing was done),
3 the installation failed, 4 the story or a test failed, 130 interrupted
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
DONE, REFUSED, NOT_INSTALLED, FAILED, INTERRUPTED = 0, 2, 3, 4, 130
# These go together; each has wheels for Python 3.10 to 3.13.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
WORKFLOW = PACK / "workflows" / "storymem_tiny_cpu.json"
CARRIED = ("__init__.py", "nodes", "storymem", "web", "locales")  # what a host needs of the pack
IN_TWO_PROCESSES = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
SHARED_FOLDER = "no title of its own"  # a warning about a folder that only this story is in
START_SECONDS, STORY_SECONDS = 180, 1800  # how long a host may take
logger = logging.getLogger("storymem")


class Stop(Exception):
    """What ends the script: an exit code and words."""

    def __init__(self, code: int, words: str):
        super().__init__(words)
        self.code = code


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="?", default="story", metavar="SCRIPT",
        help="a story script (.txt or .json) in place of the demo's, or the word: tests",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder of the story; default: tiny_story here")
    parser.add_argument(
        "--headless", action="store_true", help="without ComfyUI, even if it is found"
    )
    parser.add_argument("--here", action="store_true", help="in the Python that runs this")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    try:
        check_python()
        script = read_script(options.what)
        host = None if options.headless else find_host()
        logger.info("ComfyUI: %s", host or ("not used" if options.headless else "not found"))
        if options.what == "tests":
            return run_tests(options, host)
        return make_story(options, host, script)
    except Stop as stop:
        logger.error("%s", stop)
        return stop.code
    except KeyboardInterrupt:
        return INTERRUPTED


def check_python() -> None:
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        found = ".".join(map(str, sys.version_info[:2]))
        raise Stop(
            REFUSED,
            f"this needs Python 3.10 to 3.13, but it runs in {found}: {sys.executable}\n"
            "Start it with another one, such as: python3.12 storymem/try_it.py",
        )


def library(name: str):
    """A module of the library that needs no package; this file itself may run as a script."""
    if str(PACK) not in sys.path:
        sys.path.insert(0, str(PACK))
    return importlib.import_module(f"storymem.{name}")


def read_script(what: str) -> Path | None:
    """The script of one's own, after a look at it, or None for the demo's.

    Raises:
        Stop: for what is no script, or names pictures, of which the tiny model sees none.
    """
    if what in ("story", "tests"):
        return None
    path = Path(what)
    if not path.is_file():
        raise Stop(
            REFUSED,
            f"there is no script {path}; pass the path of a .txt or .json file, or nothing for the "
            "demo, or the word: tests",
        )
    try:
        text = library("script.file").read_script_text(path)
        story = library("script.reader").load_story(text, default_name=path.stem)
    except (OSError, ValueError) as error:
        raise Stop(REFUSED, f"{path} cannot be read as a script: {error}") from error
    if any(shot.references for shot in story.shots):
        raise Stop(
            REFUSED,
            f"{path} names reference images, which the tiny model cannot see; take them out",
        )
    if any(shot.start_image for shot in story.shots):
        raise Stop(
            REFUSED,
            f"{path} names start images, which the tiny model cannot begin with; take them out",
        )
    if any(shot.end_image for shot in story.shots):
        raise Stop(
            REFUSED,
            f"{path} names end images, which the tiny model never learned to end with; take them "
            "out",
        )
    return path.resolve()


def find_host() -> Path | None:
    path = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
    return path.resolve() if (path / "main.py").is_file() else None


# --- what both commands need ---------------------------------------------------------------------


def set_up(options: argparse.Namespace, requirements: list[Path], packages=TORCH) -> str:
    """The Python to go on with, in which everything is installed."""
    if options.here:
        return sys.executable
    folder = PACK / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        if not python.is_file():
            logger.info("making a virtual environment in %s", folder)
            venv.create(folder, with_pip=True)
        wanted = [*packages, *(part for path in requirements for part in ("-r", str(path)))]
        stamp = folder / "storymem-installed.json"
        state = json.dumps([wanted, [path.read_text("utf-8") for path in requirements]])
        if not stamp.is_file() or stamp.read_text("utf-8") != state:
            began = time.perf_counter()
            logger.info("installing; torch is large, this may take some minutes")
            pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
            subprocess.run([*pip, *wanted], check=True)
            stamp.write_text(state, "utf-8")
            logger.info("installed in %.0f s", time.perf_counter() - began)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Stop(
            NOT_INSTALLED,
            f"the installation failed: {error}\n(Debian and Ubuntu have venv in a package of its "
            "own: apt install python3-venv. Else see what pip says above.)",
        ) from error
    return str(python)


def run_tests(options: argparse.Namespace, host: Path | None) -> int:
    requirements = [PACK / "tests" / "requirements.txt"]
    if not requirements[0].is_file():
        raise Stop(
            REFUSED, f"{PACK} has no tests: an installed pack comes without; clone the repository"
        )
    if host:
        requirements.insert(0, host / "requirements.txt")
    python = set_up(options, requirements)
    result = subprocess.run([python, "-m", "pytest", "tests", *IN_TWO_PROCESSES], cwd=PACK)
    return DONE if result.returncode == 0 else FAILED


def make_story(options: argparse.Namespace, host: Path | None, script: Path | None) -> int:
    for kind in ("diffusion_models", "vae"):
        try:
            runpy.run_path(str(PACK / "storymem" / "tiny" / "files.py"))["require"](kind)
        except ValueError as error:
            raise Stop(REFUSED, str(error)) from error
    out = choose_folder(options.out)
    if host:
        requirements, packages = [host / "requirements.txt", PACK / "requirements.txt"], TORCH
    else:
        requirements, packages = [PACK / "requirements-headless.txt"], TORCH[:2]
    python = set_up(options, requirements, packages)
    began = time.perf_counter()
    if host:
        with_host(python, host, out, script)
        film = next(p for p in sorted(out.glob("*.mp4")) if not p.name.startswith("shot_"))
        logger.info("finished: %s", film)
        run_module(python, "sheet", str(out))
    else:
        own = [str(script)] if script else []
        run_module(python, "run", *own, "--tiny", "--device", "cpu", "--out", str(out))
    logger.info("made in %.0f s", time.perf_counter() - began)
    return DONE


def choose_folder(wanted: Path | None) -> Path:
    """An empty or new folder, so that no other story is written over."""
    numbers = ["", *(f"_{n}" for n in range(2, 1000))]
    tries = [wanted] if wanted else [Path(f"tiny_story{number}") for number in numbers]
    for path in tries:
        try:
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                path.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=path):
                    return path.resolve()
        except OSError as error:  # now, and not after the installation
            raise Stop(
                REFUSED, f"{path} cannot be written: {error}; choose another --out"
            ) from error
    raise Stop(REFUSED, f"{tries[-1]} is not empty; choose another --out")


def run_module(python: str, *arguments: str) -> None:
    result = subprocess.run([python, "-m", "storymem", *arguments], cwd=PACK)
    if result.returncode == INTERRUPTED:
        raise Stop(INTERRUPTED, "interrupted")
    if result.returncode:
        raise Stop(FAILED, f"the headless runner ended with exit code {result.returncode}")


# --- a story through ComfyUI ---------------------------------------------------------------------


def with_host(python: str, host: Path, out: Path, script: Path | None = None) -> None:
    """The shipped workflow in a ComfyUI server of its own, on a base folder of its own."""
    base = Path(tempfile.mkdtemp(prefix="storymem_"))
    for name in ("input", "output", "temp", "user", "models", "custom_nodes"):
        (base / name).mkdir()
    show_pack(base / "custom_nodes" / "ComfyUI-StoryMem")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = base / "server.log"
    command = [python, "main.py", "--cpu", "--port", str(port), "--base-directory", str(base)]
    command += ["--database-url", "sqlite:///:memory:"]
    with open(log, "wb") as stream:
        server = subprocess.Popen(command, cwd=host, stdout=stream, stderr=stream)
    try:
        Page(server, f"http://127.0.0.1:{port}", log).make(base / "output", script)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
    (manifest,) = (base / "output").glob("*/*/story.json")
    shutil.copytree(manifest.parent, out, dirs_exist_ok=True)
    shutil.rmtree(base, ignore_errors=True)


def show_pack(target: Path) -> None:
    """The pack among a host's custom nodes: as a link, or as a copy where links are not allowed."""
    try:
        target.symlink_to(PACK, target_is_directory=True)
    except OSError:
        target.mkdir()
        for name in CARRIED:
            source = PACK / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target / name, ignore=ignored)
            elif source.is_file():
                shutil.copyfile(source, target / name)


def put_script(prompt: dict, script: Path) -> None:
    """The script of one's own in the workflow's Load Story."""
    (story,) = (node for node in prompt.values() if node["class_type"] == "StoryMemLoadStory")
    story["inputs"]["script"] = library("script.file").read_script_text(script)


class Page:
    """What a browser would do: wait for the server, queue the workflow, wait for its end."""

    def __init__(self, server: subprocess.Popen, address: str, log: Path):
        self.server, self.address, self.log = server, address, log

    def ask(self, path: str, payload: dict | None = None):
        data = None if payload is None else json.dumps(payload).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def make(self, output: Path, script: Path | None = None) -> None:
        self.wait_for(lambda: self.ask("/system_stats"), START_SECONDS)
        to_api = runpy.run_path(str(PACK / "storymem" / "files" / "workflow_file.py"))["to_api"]
        workflow = json.loads(WORKFLOW.read_text("utf-8"))
        prompt = to_api(workflow, self.ask("/object_info"))
        if script:
            put_script(prompt, script)
        logger.info("ComfyUI is up; %s is queued", WORKFLOW.name)
        try:
            number = self.ask("/prompt", {"prompt": prompt})["prompt_id"]
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")
            raise Stop(FAILED, f"ComfyUI refuses the workflow: {words}") from None
        seen: set[str] = set()

        def entry():
            for path in sorted(output.glob("*/*/shot_*.mp4")):
                if path.name not in seen:
                    seen.add(path.name)
                    logger.info("finished %s", path.name)
            for words in self.warnings():
                if words not in seen:
                    seen.add(words)
                    logger.warning("%s", words)
            return self.ask(f"/history/{number}").get(number)

        status = self.wait_for(entry, STORY_SECONDS)["status"]
        if status["status_str"] != "success":
            errors = [m[1]["exception_message"] for m in status["messages"] if "error" in m[0]]
            raise Stop(FAILED, f"the story failed: {''.join(errors)}\n{self.tail()}")

    def wait_for(self, ask, seconds: float):
        """What ``ask`` gives, as soon as it gives something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                raise Stop(FAILED, f"ComfyUI stopped:\n{self.tail()}")
            try:
                answer = ask()  # no :=, so that older Pythons can say that they are too old
                if answer:
                    return answer
            except OSError:  # not up yet, or busy
                pass
            time.sleep(0.5)
        raise Stop(FAILED, f"ComfyUI did not answer in {seconds:.0f} s:\n{self.tail()}")

    def warnings(self) -> list[str]:
        """What the pack warns of in the server's log, which nobody sees here."""
        lines = self.log.read_text(errors="replace").splitlines()
        told = [line.partition("StoryMem: ")[2] for line in lines if "WARNING" in line]
        return [words for words in told if words and SHARED_FOLDER not in words]

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


if __name__ == "__main__":
    sys.exit(main())
