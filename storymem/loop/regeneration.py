"""Why finished shots are made again: which input is not what it was, in words, before it happens.

A record keeps beside its key what that was made of, as far as people can be told of it. Records of
earlier versions say less; what they do not say is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ..files.hashing import digest_of
from ..files.messages import listed
from ..script.cast import strip_mentions
from .cache_keys import DIALOGUE_FACT, END, OPENING_FACT, RECONSTRUCT_FACT, telling_facts
from .changed_inputs import BodyNames, body_changes, changed
from .passes import DRAFT_FACT
from .plan import Loop, Step
from .shot_loras import lora_changes

MOST = 3  # changes that are named of one shot
MOST_LINES = 4
LONGEST = 300  # characters of one change
BEGINNINGS = {"m2v": "a cut", "mi2v": "last_frame", "mm2v": "last_five_frames"}
MEMORY = {  # a fact of a record -> how the artist knows it
    "max_frames": "max_frames of the memory bank",
    "sink": "opening_frames of the memory bank",
    "policy": "policy of the memory bank",
    "embedder": "embedder of the memory bank",
    "clicks": "what was kept, dropped or pinned in the memory gallery",
    "pins": "which pictures of the memory bank are pinned",
}
TEXTS = {DIALOGUE_FACT: "its dialogue", RECONSTRUCT_FACT: "everybody's looks (reconstruct_target)"}
# How changes of what a pass overrides begin.
OF_PASS = tuple(
    f"{n} of "
    for n in (
        "steps",
        "cfg",
        "cfg_low",
        "cfg_cut",
        "width",
        "height",
        "sampler_name",
        "scheduler",
        "shift",
    )
)
UNTOLD = "of something that was not written down when it was made (by an earlier version)"
UNTOLD_BODY = (
    "the nodes or models that make it are others (an earlier version did not write down which)"
)


@dataclass(frozen=True)
class Regeneration:
    """Shots that are made again for the same reasons."""

    shots: tuple[int, ...]  # numbers, from 1
    reasons: tuple[str, ...]
    is_edited: bool = False  # the script's words are others, which an artist knows

    def __str__(self) -> str:
        are = "shots {} are" if len(self.shots) > 1 else "shot {} is"
        return f"{are.format(_ranges(self.shots))} regenerated because {_joined(self.reasons)}"


def find_regenerations(
    loop: Loop, steps: Sequence[Step], names: BodyNames | None = None
) -> list[Regeneration]:
    """Shots of a run that are made although they are finished under another key, and why. Those
    that only depend on a shot before them are not among them: what they see is not known yet."""
    names, bodies = names or BodyNames(), {}
    shots: dict[tuple, list[int]] = {}
    for step in steps:
        if step.record is not None or step.is_undecided or not step.earlier:
            continue
        facts = loop.store.find_facts(step.earlier.get("key"))
        if facts is None or step.earlier.get("key") == step.key:  # damaged, which is told
            continue
        reasons = _draft_changes(step, facts)
        is_same_pass = not reasons
        reasons += _shot_changes(loop, step, facts)
        if facts.get("own") != step.own and facts.get("body") != digest_of(loop.body):
            body = str(facts.get("body"))
            if body not in bodies:
                bodies[body] = _body_changes(loop, body, names)
            # What a draft's settings change of the nodes is told once.
            reasons += [r for r in bodies[body] if is_same_pass or not r.startswith(OF_PASS)]
        if not reasons and step.plan.shot.index in loop.settings.redo:
            continue  # as the artist says
        told = facts.get("shot_prompt", step.plan.shot.prompt)
        is_edited = told != step.plan.shot.prompt
        reasons = tuple(reason[:LONGEST] for reason in reasons) or (UNTOLD,)
        shots.setdefault((reasons, is_edited), []).append(step.plan.shot.index + 1)
    return [Regeneration(tuple(numbers), *why) for why, numbers in shots.items()]


def regeneration_lines(found: Sequence[Regeneration], steps: Sequence[Step]) -> list[str]:
    """For the log and for the node: few lines, whatever the number of shots."""
    lines = [str(one) for one in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        left = sum(len(one.shots) for one in found[MOST_LINES:])
        lines.append(f"{left} more are regenerated for other reasons")
    following: dict[int, list[int]] = {}
    for step in steps:
        if step.depends_on is not None:
            cause = step.depends_on.plan.shot.index + 1
            following.setdefault(cause, []).append(step.plan.shot.index + 1)
    for i, one in enumerate(found[:MOST_LINES]):
        after = [n for cause in one.shots for n in following.get(cause, ())]
        if after:
            one_or_more = ("shot {} follows if what it sees", "shots {} follow if what they see")
            words = one_or_more[len(after) > 1]
            lines[i] += f"; {words.format(_ranges(after))} changes"
    return lines


# --- inside --------------------------------------------------------------------------------------


def _draft_changes(step: Step, facts: Mapping) -> list[str]:
    """Which settings of a draft are not what they were."""
    was = facts.get(DRAFT_FACT)
    if step.plan.draft is None or not isinstance(was, Mapping) or facts.get("own") == step.own:
        return []
    now = asdict(step.plan.draft)
    names = [name for name in now if name not in ("name", "max_frames")]
    differ = [name for name in names if was.get(name) != now[name]]
    return [changed(f"{name} of the {now['name']}", was.get(name), now[name]) for name in differ]


def _shot_changes(loop: Loop, step: Step, facts: Mapping) -> list[str]:
    """What of a shot itself, or of what it sees, is not what its record says."""
    plan, shot = step.plan, step.plan.shot
    now = telling_facts(loop, plan)
    found = []
    title = facts.get("story")
    if isinstance(title, str) and title != loop.story.name and facts.get("own") != step.own:
        found.append(
            changed("the title (without one, the script's file name)", title, loop.story.name)
        )
    old = facts.get("shot_prompt")
    if isinstance(old, str) and strip_mentions(old) != strip_mentions(shot.prompt):
        found.append(changed("its prompt", old, shot.prompt))
    elif facts.get("prompt", plan.prompt) != plan.prompt:
        was, is_now = (_character(text, shot.prompt) for text in (facts["prompt"], plan.prompt))
        found.append(changed("the character description", was, is_now))
    if (facts.get("negative") or "") != (shot.negative or ""):
        found.append(changed("its negative prompt", facts.get("negative"), shot.negative))
    if facts.get("seed") != shot.seed and shot.index not in loop.settings.redo:
        found.append(changed("its own seed", facts.get("seed"), shot.seed))
    if facts.get("mode") != plan.mode:
        was, is_now = (BEGINNINGS.get(str(mode)) for mode in (facts.get("mode"), plan.mode))
        found.append(changed("how it begins", was, is_now))
    if facts.get("shot") != shot.index and isinstance(facts.get("shot"), int):
        found.append(changed("its place in the story", facts["shot"] + 1, shot.index + 1))
    for name in ("length", "lora_strength"):
        if facts.get(name, now[name]) != now[name]:
            found.append(changed(f"its {name}", facts[name], now[name]))
    for name, label in TEXTS.items():
        if name in facts and name in now and facts[name] != now[name]:
            found.append(changed(label, facts[name], now[name]))
    found += lora_changes(facts, now)
    found += _picture_changes(facts.get("pictures", now["pictures"]), now["pictures"])
    if "memory" in facts and facts.get("text") != now.get("text"):
        way = "text" if "text" in now else "weights"
        found.append(f"parentheses in its text are read as {way} now")
    elif "memory" not in facts and "text" in now and facts.get("own") != step.own:
        found.append("parentheses in its text were weights and are text now")
    return found if facts.get("own") != step.own else found + _memory_changes(step, facts, now)


def _picture_changes(old: object, new: Sequence[str]) -> list[str]:
    """Which of a shot's own pictures are others, by what ``shot_pictures`` says of them.

    Args:
        old: as a record says it, which may be anything.
    """
    old = old if isinstance(old, list) else [old]
    ends, others = (
        [[one for one in pictures if str(one).startswith(END) is is_end] for pictures in (old, new)]
        for is_end in (True, False)
    )
    found = ["its reference images or its start image changed"] if others[0] != others[1] else []
    return found + (["its end image changed"] if ends[0] != ends[1] else [])


def _character(prompt: str, own: str) -> str:
    """What stands before a shot's own part of a prompt."""
    return prompt.removesuffix(strip_mentions(own)).removesuffix("\n")


def _memory_changes(step: Step, facts: Mapping, now: Mapping) -> list[str]:
    """Of a shot that is the same by itself: why it sees something else."""
    found = []
    memory = facts.get("memory")
    has_others = facts.get("start", now["start"]) != now["start"]
    if isinstance(memory, Mapping):
        for name, label in MEMORY.items():
            if memory.get(name) == now["memory"][name] or (name == "pins" and has_others):
                continue  # a picture that came or went is told below, pinned or not
            is_digest = name in ("clicks", "pins")
            values = (memory.get(name), now["memory"][name])
            found.append(f"{label} changed" if is_digest else changed(label, *values))
        if memory.get("remember") != now["memory"].get("remember"):
            found.append("what the script remembers changed")
    if has_others:
        found.append("the reference pictures of the memory bank changed")
    if facts.get(OPENING_FACT, []) != now.get(OPENING_FACT, []):
        found.append("the clip that the story begins from changed")
    if facts.get("previous", step.previous) != step.previous and not found:
        found.append("the shot before it was made again, and it sees that")
    return found or ["what it sees of the shots before it changed"]


def _body_changes(loop: Loop, body: str, names: BodyNames) -> list[str]:
    before = loop.store.find_body(body)
    told = body_changes(before, loop.body, names) if before is not None else []
    return told or [UNTOLD_BODY]


def _joined(reasons: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b, c and 2 more changes``; the order is that of importance."""
    if len(reasons) > MOST:
        more = len(reasons) - MOST
        return f"{', '.join(reasons[:MOST])} and {more} more change{'s' if more > 1 else ''}"
    return " and ".join(filter(None, [", ".join(reasons[:-1]), reasons[-1]]))


def _ranges(numbers: Sequence[int]) -> str:
    """``1-3, 5``, of numbers in order."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return listed((f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts), 5)
