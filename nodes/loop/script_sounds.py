"""The sound files that a script names, in the host's input folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import folder_paths
from comfy_api.latest import io
from comfy_execution.graph_utils import is_link

from ...storymem.files.messages import shown
from ...storymem.files.video import FRAME_RATE
from ...storymem.loop.audio_length import frames_of_sounds, needs_sounds, seconds_of
from ...storymem.script.story import LENGTH_OF_AUDIO, Shot, Story
from ...storymem.sound.shot_sound import check_sound_file
from ..host import executor as host_cache
from ..host.folders import find_inside
from .wires import links_of

JOIN_STORY = "StoryMemJoinStory"


def prompt_subtitles_input() -> io.Boolean.Input:
    """Whether prompts are subtitles, on the nodes that join a film."""
    return io.Boolean.Input(
        "prompt_subtitles",
        optional=True,
        default=False,
        advanced=True,
        tooltip="Show the prompt as the subtitle of a shot whose script has neither subtitle nor "
        "dialogue.",
    )


def find_sound(shot: Shot) -> Path:
    """The sound file that a shot names.

    Raises:
        ValueError: naming the shot, for one that is not in the input folder.
    """
    path = find_inside(Path(folder_paths.get_input_directory()).resolve(), shot.audio)
    if path is None or not path.is_file():
        raise ValueError(
            f"{shot} names the sound {shown(shot.audio)}, which is not in the input folder; put "
            "it there or correct the name"
        )
    return path


def check_sounds(story: Story) -> None:
    """Tell before the first shot of a sound that is missing, or is none.

    Raises:
        ValueError: naming the shot.
    """
    checked = set()
    for shot in story.shots:
        if not shot.audio or shot.audio in checked:
            continue
        checked.add(shot.audio)
        path = find_sound(shot)
        try:
            check_sound_file(path)
        except ValueError as error:
            raise ValueError(
                f"{shot} names the sound {shown(shot.audio)}, which cannot be used: {error}"
            ) from error


def sound_frames(story: Story, fps: float) -> dict[int, int]:
    """Frames that sounds last, by index of the shots that are as long as theirs.

    Raises:
        ValueError: naming the shot, for a sound that is missing, is none, or is far too long.
    """
    if not needs_sounds(story):
        return {}
    shots = [shot for shot in story.shots if shot.length == LENGTH_OF_AUDIO]
    return frames_of_sounds(story, {s.index: seconds_of(find_sound(s)) for s in shots}, fps)


def joins_of(dynprompt, begin_id: str) -> list[dict]:
    """Inputs of each Join Story that comes after a Begin Story."""
    users: dict[str, list[str]] = {}
    for node_id in dynprompt.all_node_ids():
        for _, source, _ in links_of(host_cache.node_as_queued(dynprompt, node_id)):
            users.setdefault(source, []).append(node_id)
    waiting, seen, joins = [begin_id], {begin_id}, []
    while waiting:
        for user in users.get(waiting.pop(), []):
            node = dynprompt.get_node(user)
            if node["class_type"] == JOIN_STORY:
                joins.append(node["inputs"])
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return joins


def joined_rate(joins: Sequence[Mapping], story: Story) -> float:
    """The rate that the Join Story after a Begin Story is set to; the usual one where none is.

    Raises:
        ValueError: when shots are as long as their sounds, and the rate comes over a wire.
    """
    if not needs_sounds(story):
        return float(FRAME_RATE)
    rates = [inputs.get("fps", FRAME_RATE) for inputs in joins]
    if any(is_link(rate) for rate in rates):
        raise ValueError(
            "fps of Join Story comes over a wire, but shots with length: audio need it before the "
            "first one; type it on Join Story, or give their lengths in frames"
        )
    return float(rates[0]) if rates else float(FRAME_RATE)
