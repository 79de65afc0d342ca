"""Any walk through the settings of a story: what is said before each run is what that then does."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass, field

import pytest
from PIL import Image

from helpers.loop_graphs import loop_graph, story
from helpers.plan_ahead import ask_plan, checker

pytestmark = pytest.mark.usefixtures("fresh")
TURNS = 16


@dataclass
class Artist:
    """Somebody who changes a story at random, one thing at a time."""

    host: object
    chance: random.Random
    rows: list[dict] = field(default_factory=list)
    opened: dict = field(default_factory=dict)
    body: dict = field(default_factory=dict)
    bank: dict = field(default_factory=dict)
    name: str = "Tale"

    def __post_init__(self):
        for i in range(4):
            self.insert(i, f"shot number {i + 1}", cut=i % 2 == 0)
        for colour in ("red", "blue"):
            picture = Image.new("RGB", (32, 16), colour)
            picture.save(self.host.base / "input" / f"{colour}.png")

    def insert(self, at: int, prompt: str, *, cut=True) -> None:
        self.rows.insert(at, {"prompt": prompt, "cut": cut, "lock": False, "refs": []})

    def turn(self, number: int) -> None:
        self.number, self.row = number, self.chance.choice(self.rows)
        kinds = [name for name in dir(self) if name.startswith("change_")]
        getattr(self, self.chance.choice(kinds))()
        self.rows[0]["cut"] = True

    def graph(self, log) -> dict:
        script = json.loads(
            story(
                prompts=[row["prompt"] for row in self.rows],
                cuts=[row["cut"] for row in self.rows],
                name=self.name,
            )
        )
        script["scenes"][0]["lock"] = [row["lock"] for row in self.rows]
        script["scenes"][0]["reference_images"] = [row["refs"] for row in self.rows]
        opened = {"bank": ["memory", 0], **self.opened}
        graph = loop_graph(json.dumps(script), log, opened=opened, body=self.body)
        graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "red.png"}}
        values = {"images": ["picture", 0], "max_frames": 10, "sink": 1, "pin_references": False}
        graph["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": {**values, **self.bank}}
        return graph

    def start_over(self) -> None:
        """Take back what cannot run."""
        self.opened, self.bank = {}, {}

    # --- the changes ---

    def change_prompt(self):
        self.row["prompt"] = self.chance.choice(
            [f"turn {self.number}", "the same", self.rows[0]["prompt"]]
        )

    def change_place(self):
        self.rows.remove(self.row)
        self.rows.insert(self.chance.randrange(len(self.rows) + 1), self.row)

    def change_count(self):
        if self.chance.random() < 0.5 and len(self.rows) > 2:
            self.rows.remove(self.row)
        elif len(self.rows) < 6:
            self.insert(self.chance.randrange(len(self.rows)), f"new in turn {self.number}")

    def change_lock(self):
        self.row["lock"] = not self.row["lock"]

    def change_cut(self):
        self.row["cut"] = not self.row["cut"]

    def change_references(self):
        self.row["refs"] = self.chance.choice([[], ["red.png"], ["blue.png"]])

    def change_seed(self):
        self.body = {"seed": self.chance.randrange(2)}

    def change_take(self):
        self.opened = {
            "redo_shots": str(self.rows.index(self.row) + 1),
            "redo_take": self.chance.randrange(1, 3),
            "after_redo": self.chance.choice(["recompute", "keep_later"]),
        }

    def change_range(self):
        first = self.rows.index(self.row) + 1
        self.opened = {"start_shot": first, "preview": self.chance.random() < 0.3}

    def change_later(self):
        self.opened = self.chance.choice([{}, {"after_redo": "keep_later"}])

    def change_negative(self):
        self.opened = {"negative": self.chance.choice(["", "fog"])}

    def change_bank(self):
        self.bank = {
            "max_frames": self.chance.choice([1, 2, 4, 10]),
            "sink": self.chance.choice([0, 1]),
            "policy": self.chance.choice(["window", "entities"]),
            "pin_references": self.chance.random() < 0.5,
        }

    def change_title(self):
        self.name = self.chance.choice(["Tale", "Other"])

    def change_file(self):
        """Put one shot's film in place of another's, as an edit."""
        folder = self.host.base / "output" / "loop" / self.name
        films = sorted(folder.glob("shot_*.mp4"))
        if len(films) > 1:
            one, other = self.chance.sample(films, 2)
            shutil.copy(one, other)
            later = (folder / "story.json").stat().st_mtime + 5
            os.utime(other, (later, later))

    def change_record(self):
        """Lose the film of a finished shot."""
        records = sorted((self.host.base / "output").glob(".storymem/shots/*/*"))
        if records:
            (self.chance.choice(records) / "shot.mp4").unlink(missing_ok=True)


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_a_walk(host, log, caplog, seed):
    check = checker(host, log, caplog)
    artist = Artist(host, random.Random(seed))
    seen = set()
    for number in range(TURNS):
        artist.turn(number)
        graph = artist.graph(log)
        if error := ask_plan(host, graph)["error"]:
            with pytest.raises(RuntimeError) as told:
                host.run(graph)
            assert error in str(told.value)
            artist.start_over()
            continue
        seen |= {shot["state"] for shot in check(graph).answer["shots"]}
    assert seen >= {"finished", "make"}
