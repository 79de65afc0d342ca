"""Which earlier result is whose: the rules of docs/regeneration.md, in plain steps, against the
library, over random edits of scripts whose shots share few prompts."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from storymem.loop.plan import Step
from storymem.loop.reuse import describe_result, is_held, latest_results, locks_of, moved_results
from storymem.loop.shot_record import Record
from storymem.sampling.continuity import ShotPlan
from storymem.script.story import Shot, Story

CHARACTER = "Mara is tall.\nShe rows."
TEXTS = ("a", "b", "@w", "w", "x\nb", "She rows.", "rows")


# --- the rules, written once more -------------------------------------------------------------


def plain(text: str) -> str:
    return text.replace("@w", "w")


def made_for(entry, text: str) -> bool:
    """Whether a result is one of a prompt: made for it, or held for it by a lock."""
    if not isinstance(entry, dict):
        return False
    whole = "shot_prompt" in entry
    for prompt in (entry["shot_prompt"] if whole else entry.get("prompt"), entry.get("held_for")):
        if isinstance(prompt, str):
            prompt = plain(prompt)
            # Earlier versions wrote the character description and the prompt as one text.
            if prompt == text or (not whole and prompt.endswith(f"\n{text}")):
                return True
    return False


def in_order(label: str) -> tuple[int, ...]:
    return tuple(map(int, label.split("_")))


def has_key(entry) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("key"), str)


def expected_results(latest: dict, story: Story, locks: dict) -> list[dict]:
    shots, texts = story.shots, [plain(shot.prompt) for shot in story.shots]
    found: list[dict] = [{} for _ in shots]
    label_of = {entry["key"]: label for label, entry in latest.items() if has_key(entry)}

    def is_of_a_shot(label: str) -> bool:
        return any(s.label == label and made_for(latest[label], texts[s.index]) for s in shots)

    # 1. Locked rows have what was locked with them; of copies of a row the one with its prompt.
    locked = [s for s in shots if s.lock and s.row]
    for key in dict.fromkeys(locks.get(s.row) for s in locked):
        if key:
            rows = [s.index for s in locked if locks.get(s.row) == key]
            entry = latest.get(label_of.get(key), {"key": key})
            fitting = [i for i in rows if made_for(entry, texts[i])]
            found[(fitting or rows)[0]] = entry
    taken = {entry["key"] for entry in found if entry}
    open_shots = {i for i in range(len(shots)) if not found[i]}

    # 2. A result that stands under two labels is one: where it is at home, else the later one.
    one_of_each: dict[str, str] = {}
    for label in sorted(filter(lambda label: has_key(latest[label]), latest), key=in_order):
        key = latest[label]["key"]
        if key not in one_of_each or is_of_a_shot(label) or not is_of_a_shot(one_of_each[key]):
            one_of_each[key] = label
    left = sorted((n for k, n in one_of_each.items() if k not in taken), key=in_order)

    # 3. As many as possible in the order of the story, then as many as possible where they were.
    def fits(i: int, j: int) -> bool:
        return i in open_shots and made_for(latest[left[j]], texts[i])

    @cache
    def best(i: int, j: int) -> tuple[int, int]:
        """Pairs, and pairs under their old label, of shots from i and results from j on."""
        if i >= len(shots) or j >= len(left):
            return 0, 0
        return max(best(i + 1, j), best(i, j + 1), begun(i, j))

    @cache
    def begun(i: int, j: int) -> tuple[int, int]:
        if not fits(i, j):
            return 0, 0
        count, homes = best(i + 1, j + 1)
        return count + 1, homes + (shots[i].label == left[j])

    pairs, i, j = {}, 0, 0
    while best(i, j)[0]:
        whole = best(i, j)
        firsts = [n for n in range(i, len(shots)) if begun(n, j) == whole]
        if firsts:
            i = firsts[0]
        else:  # the next result is not part of such a choice, or of none that begins with it
            i, j = max(
                ((n, m) for n in range(i, len(shots)) for m in range(j, len(left))
                 if begun(n, m) == whole),
                key=lambda pair: (pair[0], -pair[1]),
            )  # fmt: skip
        pairs[i] = left[j]
        i, j = i + 1, j + 1

    # 4. The others by their prompt alone.
    for i in sorted(open_shots - set(pairs)):
        same = [n for n in left if n not in pairs.values() and made_for(latest[n], texts[i])]
        if same:
            pairs[i] = same[0]

    # 5. Shots of one prompt stay in their order.
    for text in set(texts):
        own = [i for i in sorted(pairs) if texts[i] == text]
        labels = sorted((pairs[i] for i in own), key=in_order)
        for i, label in zip(own, labels, strict=True):
            found[i] = latest[label]
    taken |= {latest[label]["key"] for label in pairs.values()}

    # 6. A lock holds what lay under its label, or what it held, unless that is of another shot.
    for shot in shots:
        for label in (label_of.get(locks.get(shot.label)), shot.label):
            entry = latest.get(label)
            if not shot.lock or found[shot.index] or not has_key(entry) or entry["key"] in taken:
                continue
            if not any(made_for(entry, texts[o.index]) for o in shots if o is not shot):
                found[shot.index] = entry
                taken.add(entry["key"])

    # 7. What the script names itself, where it is known.
    for shot in shots:
        for key, label in label_of.items():
            if shot.take and key.startswith(shot.take):
                found[shot.index] = latest[label]
                break
    return found


def expected_locks(story: Story, keys: dict[int, str | None], locks: dict) -> dict:
    """Locks of shots that the script no longer has stay, those that were taken off go."""
    names = {name for shot in story.shots for name in (shot.label, shot.row)}
    found = {name: key for name, key in locks.items() if name not in names}
    locked = [shot for shot in story.shots if shot.lock and keys[shot.index]]
    for shot in reversed(locked):  # of copies of a row the first
        found[shot.label] = keys[shot.index]
        if shot.row:
            found[shot.row] = keys[shot.index]
    for shot in locked:  # but before that the one that held it
        if shot.row and keys[shot.index] == locks.get(shot.row):
            found[shot.row] = locks[shot.row]
    return found


# --- an artist at work -------------------------------------------------------------------------


class Desk:
    """A script that is edited at random, and what its folder knows of its results."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.count = 0
        self.character = self.random.choice(["", CHARACTER])
        self.rows: list[dict] = [self.new_row() for _ in range(self.random.randint(1, 6))]
        self.latest: dict = {}
        self.locks: dict[str, str] = {}

    def fresh(self, word: str) -> str:
        self.count += 1
        return f"{word}{self.count:04d}"

    def new_row(self) -> dict:
        row = {"prompt": self.random.choice(TEXTS), "step": self.random.choice([0, 0, 0, 1, 91])}
        return {**row, "lock": False, "row": "", "cut": True, "seed": None, "take": ""}

    def edit(self) -> None:
        chance, rows = self.random, self.rows
        place = chance.randrange(len(rows))
        kind = chance.choice(["insert", "delete", "move", "text", "text", "cut", "seed", "lock",
                              "lock", "copy", "scene", "character", "take"])  # fmt: skip
        if kind == "insert":
            rows.insert(place, self.new_row())
        elif kind == "delete" and len(rows) > 1:
            del rows[place]
        elif kind == "move":
            rows.insert(chance.randrange(len(rows)), rows.pop(place))
        elif kind == "text":
            rows[place]["prompt"] = chance.choice(TEXTS)
        elif kind == "cut":
            rows[place]["cut"] = not rows[place]["cut"]
        elif kind == "seed":
            rows[place]["seed"] = chance.choice([None, 0, 1])
        elif kind == "lock":
            rows[place]["lock"] = not rows[place]["lock"]
            rows[place]["row"] = chance.choice(["", rows[place]["row"], self.fresh("r")])
        elif kind == "copy":
            rows.insert(chance.randrange(len(rows)), dict(rows[place]))
        elif kind == "take":
            known = [entry["key"] for entry in self.latest.values()]
            names = ["", self.fresh("gone"), *(key[:-1] for key in known)]
            rows[place]["take"] = chance.choice(names)
        elif kind == "scene":
            rows[place]["step"] = chance.choice([0, 1, 91])
        elif kind == "character":
            self.character = chance.choice(["", CHARACTER])

    def story(self) -> Story:
        shots: list[Shot] = []
        scene, number = 9, 7
        for row in self.rows:
            number = 8 if row["step"] else number + 1
            scene += row["step"]
            row = {name: value for name, value in row.items() if name != "step"}
            shots.append(Shot(len(shots), scene, number, **row))
        return Story("Tale", tuple(shots), character=self.character)

    def run(self, story: Story, results: list[dict]) -> list[Step]:
        """Some shots of the story, from the first on: what they were found with, or made anew."""
        steps = []
        for shot in story.shots[: self.random.randint(1, len(story.shots))]:
            plan, entry = ShotPlan(shot, story.name, story.prompt_of(shot)), results[shot.index]
            is_kept = has_key(entry) and (shot.lock or self.random.random() < 0.7)
            facts = {"own": entry.get("own", "old"), "prompt": entry.get("prompt", "?")}
            if not is_kept:
                facts = {"own": self.fresh("own"), "prompt": plan.prompt}
            if not is_kept and self.random.random() < 0.8:
                facts["shot_prompt"] = shot.prompt
            elif is_kept and "shot_prompt" in entry:
                facts["shot_prompt"] = entry["shot_prompt"]
            key = entry["key"] if is_kept else self.fresh("k") + "x"
            record = Record(key, Path(key), 9, facts)
            reason = self.random.choice(["locked", "kept"]) if is_kept else ""
            steps.append(Step(plan, "asked for", record=record, reason=reason))
        return steps


def expected_entry(step: Step) -> dict:
    facts, text = step.record.facts, plain(step.plan.shot.prompt)
    entry = {"key": step.record.key, **{n: facts[n] for n in ("own", "prompt")}}
    if "shot_prompt" in facts:
        entry["shot_prompt"] = facts["shot_prompt"]
    return entry if made_for(entry, text) else {**entry, "held_for": step.plan.shot.prompt}


def expected_moves(latest: dict, story: Story, steps: list[Step], results: list[dict]) -> dict:
    """What a run writes down at its start: kept results, and those of shots that it leaves out."""
    moved = {}
    for shot in story.shots:
        if shot.index >= len(steps):
            if results[shot.index] and results[shot.index] is not latest.get(shot.label):
                names = ("key", "own", "prompt", "shot_prompt", "held_for")
                moved[shot.label] = {n: results[shot.index][n] for n in names
                                     if n in results[shot.index]}  # fmt: skip
        elif steps[shot.index].reason:
            entry = expected_entry(steps[shot.index])
            if {n: latest.get(shot.label, {}).get(n) for n in entry} != entry:
                moved[shot.label] = entry
    return moved


def test_results_stay_with_their_shots_however_a_script_is_edited():
    """Lists of results, what is written of them, and locks: as the plain rules say."""
    edits, found_again = 0, 0
    for seed in range(60):
        desk = Desk(seed)
        for _ in range(20):
            story = desk.story()
            results = latest_results(desk.latest, story, desk.locks)
            assert results == expected_results(desk.latest, story, desk.locks), (seed, desk.rows)
            found_again += sum(map(bool, results))
            steps = desk.run(story, results)
            for step in steps:
                assert describe_result(step) == expected_entry(step)
            moved = moved_results(desk.latest, story, steps, results)
            assert moved == expected_moves(desk.latest, story, steps, results)
            unlocked = latest_results(desk.latest, story)
            asked = moved_results(desk.latest, story, iter(steps))
            assert asked == expected_moves(desk.latest, story, steps, unlocked)
            assert moved_results(desk.latest, story, []) == expected_moves(
                desk.latest, story, [], unlocked
            )
            keys = {shot.index: results[shot.index].get("key") for shot in story.shots}
            keys |= {step.plan.shot.index: step.record.key for step in steps}
            locks = locks_of(story, steps, results, desk.locks)
            assert locks == expected_locks(story, keys, desk.locks)
            desk.locks = locks
            desk.latest |= moved
            for step in steps:
                desk.latest[step.label] = describe_result(step)
            for _ in range(desk.random.choice([1, 1, 2, 3])):
                desk.edit()
                edits += 1
    assert edits > 2000
    assert found_again > 3000


LABELS = ("01_01", "01_02", "02_01", "09_01", "10_01", "99_99", "99_100")
OLD = ("gone", "a", "b", "w", "x\nb", f"{CHARACTER}\na")


def any_entry(chance: random.Random) -> object:
    """What a manifest may hold of a result: of this version, of earlier ones, or nonsense."""
    if chance.random() < 0.05:
        return chance.choice([None, [], "a", {}, {"key": 5, "prompt": "a"}, {"prompt": "b"}])
    entry = {"key": chance.choice("jklmnop"), "prompt": chance.choice([*OLD, None])}
    if chance.random() < 0.6:
        entry["shot_prompt"] = chance.choice(OLD)
    if chance.random() < 0.3:
        entry["held_for"] = chance.choice([*OLD, None])
    return entry


def test_results_go_to_their_shots_whatever_a_folder_holds():
    """Also where a folder was repaired, copied or written by an earlier version: results under two
    labels, of two prompts, without a key."""
    found_again = 0
    for seed in range(1500):
        chance = random.Random(seed)
        shots: list[Shot] = []
        for label in sorted(chance.sample(LABELS, chance.randint(1, 6)), key=in_order):
            lock, row = chance.random() < 0.4, chance.choice(["", "", "r", "s"])
            take = chance.choice("jklq") if chance.random() < 0.15 else ""
            text = chance.choice(["a", "b", "@w", "x\nb", "new"])
            shots.append(
                Shot(len(shots), *in_order(label), text, True, lock=lock, row=row, take=take)
            )
        latest = {label: any_entry(chance) for label in chance.sample(LABELS, chance.randint(0, 7))}
        names = chance.sample([*LABELS, "r", "s"], chance.randint(0, 5))
        locks = {name: chance.choice("jklmnop") for name in names}
        story = Story("Tale", tuple(shots))
        results = latest_results(latest, story, locks)
        assert results == expected_results(latest, story, locks), seed
        given = [results[s.index]["key"] for s in shots if results[s.index] and not s.take]
        assert len(given) == len(set(given)), seed
        found_again += len(given)
    assert found_again > 1400


def test_what_is_known_of_a_result_decides_whether_it_is_held():
    shot = Shot(0, 1, 1, "@Mara sits.", True)
    assert is_held({"key": "k"}, shot)  # nobody knows for what it was made
    assert is_held({"prompt": None}, shot)
    assert not is_held({"prompt": "Mara sits."}, shot)
    assert not is_held({"prompt": "Mara is tall.\n@Mara sits."}, shot)
    assert is_held({"prompt": "Now Mara sits."}, shot)
    assert not is_held({"prompt": "anything", "shot_prompt": "Mara sits."}, shot)
    assert is_held({"prompt": "Mara sits.", "shot_prompt": "Mara is tall.\nMara sits."}, shot)


def test_a_record_of_an_earlier_version_is_taken_for_what_is_asked_for():
    plan = ShotPlan(Shot(0, 1, 1, "Mara sits.", True), "Tale", "Mara is tall.\nMara sits.")
    step = Step(plan, "asked for", record=Record("k", Path("k"), 9, {}))
    assert describe_result(step) == {
        "key": "k", "own": "asked for", "prompt": "Mara is tall.\nMara sits.",
    }  # fmt: skip


def test_of_copies_of_a_locked_row_the_one_that_held_the_result_goes_on_holding_it():
    shots = tuple(Shot(i, 1, i + 1, text, True, lock=True, row="r") for i, text in enumerate("xa"))
    latest = {"01_01": {"key": "made", "shot_prompt": "a"}, "01_02": {"key": "o", "prompt": "x"}}
    story = Story("Tale", shots)
    results = latest_results(latest, story, {"r": "made"})
    assert [result.get("key") for result in results] == ["o", "made"]
    assert locks_of(story, [], results, {"r": "made"}) == {
        "01_01": "o", "01_02": "made", "r": "made",
    }  # fmt: skip
    assert locks_of(story, [], results, {})["r"] == "o"  # else the first
