"""Proves that a story survives ``kill -9`` at any moment, in ComfyUI and without it.

    python tests/tools/kill_campaign.py --server 60 --headless 10 --seed 1 --output-json kills.json

Server part: real servers under the default cache make stories through Shot Loop Open and Close.
Headless part: ``python -m storymem run --tiny --resume``. Each is killed at seeded moments and
started again over the same folders, until the story is through: at any time, as soon as something
new is in the folder, and right before a step with a file (see ``kill_moments.py``). Then the story
is finished undisturbed and must be the one that was never killed, file by file, with nothing half
written beside it; no shot that was finished before a kill may be regenerated, and what an artist
can see must be whole right after each kill, too.

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI) for the server part. A kill takes about as
long as a start of the server. Exits with 1 when anything did not survive; the folders of such a
story are kept, and named.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PACK), str(PACK / "tests")]

from helpers.host_server import Server, make_base  # noqa: E402
from helpers.kill_moments import (  # noqa: E402
    Files,
    Moment,
    Orders,
    draw_moments,
    wait_for_change,
    wait_until,
)
from helpers.loop_graphs import finished_shots, lines_of, loop_graph, story  # noqa: E402

CUTS = [True, False, False, True, False]  # the others continue from the last frame
BODY = {"seconds": 0.25, "width": 256, "height": 160, "length": 17}
FADED = {"transition": "cross_fade", "fade_frames": 4}
TINY_SCRIPT = """Bomo jumps, beach, still
---
[continue]
Bomo hops, beach, zoom
---
Bomo sways, snow, still
---
[continue]
Bomo jumps, snow, still
"""
MOST_TRIES = 10  # for one moment, each in a story from nothing
OURS = (".storymem", ".shots", ".storymem.lock")  # hidden, and there to stay
PLACES = (
    "before the first shot",
    *(f"in shot {n}" for n in range(1, len(CUTS) + 1)),
    "in story.json",
    "in the join",
    "in the bank",
    "between",
    "after the end",
)


# --- what makes a story ------------------------------------------------------------------------


class ServerStory:
    """One story on ComfyUI servers, one server after the other over the same folders."""

    part = "server"

    def __init__(self, base: Path, name: str, closed: dict | None = None):
        self.name, self.base, self.shots = name, base, len(CUTS)
        root = base / "output"
        self.files = Files(root, root / "loop" / name, root / ".storymem", name)
        self.orders = Orders(base / "orders", self.files)
        self.log = base / "log"
        script = story(self.shots, name=name, cuts=CUTS)
        opened = {"continuity": "last_frame"}
        self.graph = loop_graph(script, self.log, body=BODY, opened=opened, closed=closed)
        self.server: Server | None = None
        self._prompt = ""

    def prepare(self) -> None:
        """Have a server, so that a moment after ``start`` is one of the story's."""
        if self.server is None:
            self.server = Server(self.base, "--disable-api-nodes", env=self.orders.environment)
            self.server.start()

    def start(self) -> None:
        self._prompt = self.server.queue(self.graph)

    def is_under_way(self) -> bool:
        return True

    def is_dead(self) -> bool:
        return self.server.process.poll() is not None

    def is_over(self) -> bool:
        """Whether the story ended well.

        Raises:
            RuntimeError: when it ended otherwise.
        """
        try:
            history = self.server.get(f"/history/{self._prompt}")
        except (OSError, HTTPException):  # dead, or about to be
            return False
        if self._prompt not in history:
            return False
        status = history[self._prompt]["status"]
        if status["status_str"] != "success":
            raise RuntimeError(f"the prompt failed: {status}")
        return True

    def kill(self) -> None:
        self.server.kill()
        self.server = None

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def progress(self, finished: set[int]) -> tuple[list[int], int | None]:
        """The shots that began in this run, and which one was under way; tells it once."""
        lines = [line.split()[:2] for line in lines_of(self.log)]
        begun = [int(number) for word, number in lines if word == "begin"]
        return begun, begun[-1] if begun and begun[-1] not in finished else None


class HeadlessStory:
    """One story by the headless command on the tiny model, run after run."""

    part = "headless"

    def __init__(self, base: Path, name: str):
        self.name, self.base, self.shots = name, base, TINY_SCRIPT.count("---") + 1
        root = base / "headless"
        self.files = Files(root, root, root / ".shots", "story")
        self.orders = Orders(base / "orders", self.files)
        self.log = base / "log"
        self.script = base / f"{name}.txt"
        self.script.write_text(TINY_SCRIPT)
        self.process: subprocess.Popen | None = None

    def prepare(self) -> None:
        """Nothing: a run begins with its process."""

    def start(self) -> None:
        command = [sys.executable, "-m", "storymem", "run", "--tiny", str(self.script)]
        command += ["--out", str(self.files.root), "--resume", "--steps", "2", "--device", "cpu"]
        threads = {"OMP_NUM_THREADS": "1"}  # or sums may differ in their last bits
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=PACK,
                stdout=log,
                stderr=log,
                env={**os.environ, **threads, **self.orders.environment},
            )

    def is_under_way(self) -> bool:
        """Whether it has read its models' names and planned: before, it only loads Python."""
        return " to make" in self.log.read_text(errors="replace")

    def is_dead(self) -> bool:
        return self.process.poll() not in (None, 0)

    def is_over(self) -> bool:
        """Whether the story ended well.

        Raises:
            RuntimeError: when it ended otherwise.
        """
        code = self.process.poll()
        if code is not None and code > 0:
            raise RuntimeError(f"the run ended with {code}:\n{self.log.read_text()[-3000:]}")
        return code == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def progress(self, finished: set[int]) -> tuple[list[int], int | None]:
        """The shots that began in this run, and which one was under way; tells it once."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        if not (plan := re.search(r": (.* to make.*); disk", text)):
            return [], None
        # The plan says where it begins, a line that a shot's frames were made, a bar that it was
        # under way. Nothing stands between a finished shot and the beginning of the next one.
        before = re.search(r"(\d+) shots? finished", plan[1])
        first = 1 + (int(before[1]) if before else 0)
        made = len(re.findall(r"keyframes? of \d+ frame", text))
        bars = map(int, re.findall(r"shot [0-9]+_([0-9]+):", text))
        begun = {*bars, *range(first, min(first + max(made, 1), self.shots + 1))}
        left = [n for n in range(first, self.shots + 1) if n not in finished]
        return sorted(begun), left[0] if left else None


# --- what is on disk ---------------------------------------------------------------------------


def paths_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def times_below(root: Path) -> dict[str, int]:
    return {path: (root / path).lstat().st_mtime_ns for path in paths_below(root)}


def is_leftover(path: str, files: Files) -> bool:
    """Whether it was being written when something died, or looks like it."""
    writing = (files.store / "writing").relative_to(files.root).as_posix()
    return (
        any(name.startswith(".") and name not in OURS for name in path.split("/"))
        or path.endswith((".part", ".tmp", ".saving", "-damaged"))
        or path.startswith(f"{writing}/")
    )


def leftovers(files: Files) -> list[str]:
    return [path for path in paths_below(files.root) if is_leftover(path, files)]


def contents(files: Files) -> dict[str, str]:
    """MD5 of every file that stays; of ``story.json``, whose order is that of its shots' coming,
    of what it says, but for times."""
    found = {}
    for path in paths_below(files.root):
        place = files.root / path
        if is_leftover(path, files) or not place.is_file() or place.name == ".storymem.lock":
            continue
        data = place.read_bytes()
        if place.name == "story.json":
            with suppress(ValueError):
                manifest = json.loads(data)
                for film in manifest["films"]:
                    del film["when"]
                for entry in manifest.get("files", {}).values():
                    del entry["time"]
                data = json.dumps(manifest, sort_keys=True).encode()
        found[path] = hashlib.md5(data).hexdigest()
    return found


def wrong_files(files: Files, expected: dict[str, str]) -> list[str]:
    """Files under their own names that are cut off, or not those of the undisturbed story: right
    after a kill, too, there must be none."""
    found = []
    for path, digest in contents(files).items():
        if path.endswith(("story.json", "bank.json")):  # they grow
            try:
                json.loads((files.root / path).read_bytes())
            except ValueError:
                found.append(path)
        elif digest != expected.get(path):
            found.append(path)
    return found


# --- the campaign ------------------------------------------------------------------------------


@dataclass
class Kill:
    part: str
    story: str
    aim: str
    place: str  # where it fell
    left: list[str]  # what it left half written
    finished: list[int]  # shots that were finished then
    wrong: list[str]  # files under their own names that are not whole, or another story's
    again: list[int] = field(default_factory=list)  # of those finished, what later runs began


@dataclass
class Ending:
    """A story that was finished after kills, beside the one that was never killed."""

    part: str
    story: str
    kills: int
    differing: list[str]
    leftovers: list[str]


class Campaign:
    """Kills of one story after another; ``kills`` and ``endings`` say what came of it."""

    def __init__(self, work: ServerStory | HeadlessStory, keep: Path):
        self.work, self.keep = work, keep
        self.kills: list[Kill] = []
        self.endings: list[Ending] = []
        self._of_story: list[Kill] = []  # since it began from nothing

    def run(self, moments: list[Moment]) -> None:
        self._make_reference()
        for moment in moments:
            if moment.needs_shots and len(self._finished()) == self.work.shots:
                self._end()
            for _ in range(MOST_TRIES):
                if self._kill_at(moment):
                    break
                self._end()  # it was over before the moment came: once more from nothing
                moment = moment.earlier()
            else:
                raise RuntimeError(f"the moment '{moment}' never came")
        self._end()

    def _make_reference(self) -> None:
        """The story that is never killed: its files, its time, and how many steps it takes."""
        work = self.work
        work.prepare()
        work.orders.give("", trace=True)
        work.start()
        wait_until(work.is_under_way, self._is_over)
        begin = time.monotonic()
        self._wait_for_end()
        self.seconds = time.monotonic() - begin
        steps = Counter(work.files.kind_of(path) for _, path in work.orders.take_back())
        self.steps = dict(steps)
        self.expected = contents(work.files)
        if wrong := leftovers(work.files):
            raise RuntimeError(f"an undisturbed story leaves {wrong}")
        self._start_over()
        print(f"{work.part}: '{work.name}' takes {self.seconds:.1f} s undisturbed, "
              f"{len(self.expected)} files, steps with them: {self.steps}", flush=True)  # fmt: skip

    def _kill_at(self, moment: Moment) -> bool:
        """Go on with the story and kill it then; whether the moment came before it was over."""
        work = self.work
        before = times_below(work.files.root)
        work.prepare()
        share = 1 - len(self._finished()) / work.shots
        came, step = self._reach(moment, share)
        if not came:
            self._count_again(work.progress(self._finished())[0])
            return False
        work.kill()
        self._note(moment, step, before)
        return True

    def _reach(self, moment: Moment, share: float) -> tuple[bool, str]:
        """Start, and wait for the moment: whether it came, and the path of a step before which the
        process died by itself."""
        work = self.work
        many = self.steps.get(moment.kind, 1)
        if moment.kind in ("shot", "story.json"):  # some with every shot
            many = max(1, int(many * share))
        number = 1 + int(moment.chance * many)
        if moment.how == "before":
            work.orders.give(work.files.patterns()[moment.kind], number)
            work.start()
            came = wait_until(work.is_dead, work.is_over)
            steps = work.orders.take_back()
            if came and not steps:
                raise RuntimeError(f"{work.part} died by itself; its log is in {work.base}")
            return came, steps[0][1] if came else ""
        if moment.how == "seen":
            # From outside, steps that follow each other closely look like one.
            number = max(1, number // 4)
            came = wait_for_change(work.files, moment.kind, number, work.start, self._is_over)
            time.sleep(moment.delay)
            return came, ""
        work.start()
        wait_until(work.is_under_way, self._is_over)
        due = time.monotonic() + self.seconds * share * moment.chance
        return wait_until(lambda: time.monotonic() >= due, self._is_over), ""

    def _is_over(self) -> bool:
        if self.work.is_dead():
            raise RuntimeError(f"{self.work.part} died by itself; its log is in {self.work.base}")
        return self.work.is_over()

    def _note(self, moment: Moment, step: str, before: dict[str, int]) -> None:
        """What a kill did."""
        work = self.work
        finished = self._finished()
        begun, going = work.progress(finished)
        self._count_again(begun)
        times = times_below(work.files.root)
        left = [path for path in leftovers(work.files) if times[path] != before.get(path)]
        left = [path for path in left if path.rpartition("/")[0] not in left]
        kinds = [work.files.kind_of(path) for path in ([step] if step else left)]
        kill = Kill(
            work.part,
            work.name,
            str(moment),
            self._place(kinds, finished, begun, going),
            left,
            sorted(finished),
            wrong_files(work.files, self.expected),
        )
        self.kills.append(kill)
        self._of_story.append(kill)
        print(f"{work.part} {len(self.kills):3}  {kill.aim:18} {kill.place:22} "
              f"finished: {len(finished)}  left: {named(left) or '-'}"
              f"{'  WRONG: ' + named(kill.wrong) if kill.wrong else ''}", flush=True)  # fmt: skip

    def _place(self, kinds: list[str], finished: set[int], begun: list[int], going) -> str:
        for kind, place in (("bank", "bank"), ("video", "join")):
            if kind in kinds:
                return f"in the {place}"
        if "story.json" in kinds:
            return "in story.json"
        if going is not None:
            return f"in shot {going}"
        if "shot" in kinds and begun:
            return f"in shot {begun[-1]}"
        if not finished and not begun:
            return "before the first shot"
        return "after the end" if contents(self.work.files) == self.expected else "between"

    def _end(self) -> None:
        """Finish the story undisturbed, look at it, and begin from nothing."""
        work = self.work
        if not self._of_story:  # never killed, so nothing to prove
            self._start_over()
            return
        work.prepare()
        work.start()
        self._wait_for_end()
        self._count_again(work.progress(self._finished())[0])
        found = contents(work.files)
        names = sorted({*found, *self.expected})
        ending = Ending(
            work.part,
            work.name,
            len(self._of_story),
            [name for name in names if found.get(name) != self.expected.get(name)],
            leftovers(work.files),
        )
        self.endings.append(ending)
        is_whole = not (ending.differing or ending.leftovers)
        print(f"{work.part}: a story after {ending.kills} kills: differing: "
              f"{named(ending.differing) or '-'}, leftovers: {named(ending.leftovers) or '-'}",
              flush=True)  # fmt: skip
        if not is_whole:
            kept = self.keep / f"{work.part}-{work.name}-{len(self.endings)}"
            shutil.copytree(work.files.root, kept)
            print(f"its files are kept in {kept}")
        self._start_over()

    def _wait_for_end(self) -> None:
        wait_until(lambda: False, self._is_over)

    def _start_over(self) -> None:
        work = self.work
        work.stop()
        shutil.rmtree(work.files.root, ignore_errors=True)
        work.files.root.mkdir()
        work.progress(set())
        self._of_story = []

    def _finished(self) -> set[int]:
        return finished_shots(self.work.files.store)

    def _count_again(self, begun: list[int]) -> None:
        """Shots that this run began and an earlier kill found finished."""
        if self._of_story:
            last = self._of_story[-1]
            last.again = sorted({*last.again, *(set(begun) & set(last.finished))})


# --- what is told ------------------------------------------------------------------------------


def named(paths: list[str]) -> str:
    """The first of them; ``--output-json`` has all."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return " ".join(paths[:3]) + more


def table(kills: list[Kill], endings: list[Ending]) -> list[str]:
    rows = [
        f"{'part':10}{'where the kill fell':24}{'kills':>7}{'regenerated':>12}{'wrong files':>12}"
    ]
    for part in dict.fromkeys(kill.part for kill in kills):
        own = [kill for kill in kills if kill.part == part]
        for place in PLACES:
            if here := [kill for kill in own if kill.place == place]:
                again, broken = (sum(len(getattr(k, n)) for k in here) for n in ("again", "wrong"))
                rows.append(f"{part:10}{place:24}{len(here):7}{again:12}{broken:12}")
        again, broken = (sum(len(getattr(k, n)) for k in own) for n in ("again", "wrong"))
        rows.append(f"{part:10}{'all':24}{len(own):7}{again:12}{broken:12}")
        ended = [ending for ending in endings if ending.part == part]
        differing = sum(len(ending.differing) for ending in ended)
        left = sum(len(ending.leftovers) for ending in ended)
        half = sum(bool(kill.left) for kill in own)
        rows.append(
            f"{part:10}{len(ended)} stories finished: {differing} differing files, {left} leftovers"
            f" ({half} kills had left something half written)"
        )
    return rows


def is_good(kills: list[Kill], endings: list[Ending]) -> bool:
    whole = not any(ending.differing or ending.leftovers for ending in endings)
    return whole and not any(kill.again or kill.wrong for kill in kills)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=int, default=60, metavar="KILLS")
    parser.add_argument("--headless", type=int, default=10, metavar="KILLS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output-json", type=Path, metavar="FILE")
    options = parser.parse_args()
    begin = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="kill_campaign_"))
    chance = random.Random(options.seed)
    kills, endings, failures, stories = [], [], [], []
    if options.server:
        base = make_base(place / "base")
        half = options.server // 2  # shots joined as they are, and cross-fades, which re-encode
        stories += [(ServerStory(base, "Plain"), options.server - half)]
        stories += [(ServerStory(base, "Faded", FADED), half)]
    if options.headless:
        stories += [(HeadlessStory(place, "tale"), options.headless)]
    for work, count in stories:
        campaign = Campaign(work, place / "kept")
        moments = draw_moments(count, chance)
        try:
            if moments:
                campaign.run(moments)
        except (AssertionError, OSError, RuntimeError) as error:
            failures.append(f"{work.part}, '{work.name}': {error}")
        finally:
            work.stop()
            kills += campaign.kills
            endings += campaign.endings
    minutes = (time.monotonic() - begin) / 60
    good = not failures and is_good(kills, endings)
    print("\n".join(["", *table(kills, endings), *failures]))
    print(f"seed {options.seed}, {minutes:.0f} minutes: " + ("survived" if good else "FAILED"))
    if options.output_json:
        document = {
            "seed": options.seed,
            "minutes": round(minutes, 1),
            "survived": good,
            "kills": [asdict(kill) for kill in kills],
            "endings": [asdict(ending) for ending in endings],
            "failures": failures,
        }
        options.output_json.write_text(json.dumps(document, indent=1) + "\n")
    if good:
        shutil.rmtree(place, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
