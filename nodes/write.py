"""Write Story: from an idea to a script, by a language model of the host or of anywhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..storymem.files.disk import write_whole
from ..storymem.files.hashing import digest_of
from ..storymem.files.messages import reason_of
from ..storymem.writing.answer import AnswerError, Written, read_answer
from ..storymem.writing.ask import TRIES, write_story
from ..storymem.writing.request import story_request
from ..storymem.writing.wish import LANGUAGES, MOST_SHOTS, Wish, make_wish
from .host.folders import shortens_host_paths
from .page.node_notice import tell_node
from .types import Story

ANSWERS = "storymem_answers"  # folder in the output folder
TOKENS_PER_SHOT = 320  # of an answer: a prompt of 80 words in Chinese, and what is around it
TOKENS_BESIDE = 800
MOST_TOKENS = 32_768
NO_IDEA = "(only an answer is given)"
TODO = (
    "there is no script yet: copy the request output into any language model and paste what comes "
    "back into answer, or connect a language model to clip"
)
logger = logging.getLogger(__name__)


class WriteStory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemWriteStory",
            display_name="Write Story",
            category="StoryMem/story",
            search_aliases=["llm", "screenplay", "idea to script", "prompt writer", "剧本", "编剧"],
            description="Writes a story script from an idea: with a language model connected to "
            "clip, or with the answer of any other one. Without both it gives the request to send.",
            inputs=[
                io.String.Input(
                    "idea",
                    multiline=True,
                    default="",
                    placeholder="A lighthouse keeper's granddaughter finds a lamp that calls the "
                    "fog, and has to give it back.",
                    tooltip="What happens, in a sentence or more, in any language.",
                ),
                io.Int.Input(
                    "shots",
                    default=8,
                    min=1,
                    max=MOST_SHOTS,
                    tooltip="How many shots the script has, of about 5 seconds each.",
                ),
                io.Float.Input(
                    "minutes",
                    default=0.0,
                    min=0.0,
                    max=16.0,
                    step=0.25,
                    tooltip="Length of the film in minutes, instead of shots, at 5 seconds for "
                    "each shot. 0: shots counts.",
                ),
                io.String.Input(
                    "style",
                    default="",
                    tooltip="Look of the film, such as 'ink drawing' or '35 mm, muted colours'. It "
                    "is named in every prompt. Empty: the model decides.",
                ),
                io.String.Input(
                    "cast",
                    multiline=True,
                    default="",
                    placeholder="Mara [mara.png]: a woman of thirty, copper hair, yellow raincoat",
                    tooltip="A line for each character: the name, in brackets a portrait in the "
                    "input folder, then the look. The look is repeated in the prompts; the "
                    "portrait becomes a reference image of the first shot with that character.",
                ),
                io.Combo.Input(
                    "language",
                    options=list(LANGUAGES),
                    default="english",
                    tooltip="Language of the prompts: english, chinese, or that of the idea.",
                ),
                io.Boolean.Input(
                    "dialogue",
                    default=False,
                    tooltip="On: characters speak, and the prompts have their words.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Another seed gives another script. Only used with clip.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="A language model that ComfyUI can run, as for its Generate Text node: "
                    "Load CLIP with Gemma, Qwen and the like. Wan's own text encoder cannot write.",
                ),
                io.Image.Input(
                    "portraits",
                    optional=True,
                    tooltip="Pictures of the cast for a model that can see, in the order of cast.",
                ),
                io.String.Input(
                    "answer",
                    multiline=True,
                    default="",
                    optional=True,
                    placeholder="Paste here what a language model answered to the request.",
                    tooltip="What a language model answered to the request, with or without text "
                    "around the script. When it is given, clip is not asked.",
                ),
                io.Float.Input(
                    "temperature",
                    default=0.7,
                    min=0.01,
                    max=2.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="How freely the model writes, 0.4 to 1. Higher values break the form "
                    "of the script more often.",
                ),
                io.Int.Input(
                    "max_length",
                    default=0,
                    min=0,
                    max=MOST_TOKENS,
                    optional=True,
                    advanced=True,
                    tooltip="Longest answer in tokens. 0: 320 for each shot and 800 more. Raise it "
                    "when answers are cut off.",
                ),
            ],
            outputs=[
                Story.Output(display_name="story", tooltip="The story, for Shot Loop Open."),
                io.String.Output(
                    display_name="script",
                    tooltip="The script as JSON: paste it into Load Story to edit it.",
                ),
                io.String.Output(
                    display_name="request",
                    tooltip="What a language model is asked, to be used anywhere.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    @shortens_host_paths
    def execute(
        cls, idea, shots, minutes, style, cast, language, dialogue, seed, clip=None,
        portraits=None, answer="", temperature=0.7, max_length=0,
    ) -> io.NodeOutput:  # fmt: skip
        hidden = getattr(cls, "hidden", None)
        wish = _wish(idea, shots, minutes, style, cast, language, dialogue, answer)
        request = story_request(wish)
        if not answer.strip() and clip is None:
            tell_node(hidden, TODO)
            blocked = ExecutionBlocker(f"Write Story: {TODO}")
            return io.NodeOutput(blocked, blocked, request, ui=ui.PreviewText(request))
        if answer.strip():
            written = _read(answer, wish)
        else:
            length = max_length or min(MOST_TOKENS, TOKENS_BESIDE + TOKENS_PER_SHOT * wish.shots)
            sampling = {"temperature": temperature, "max_length": length}
            written = _ask(clip, wish, seed, portraits, sampling)
        if written.warnings:
            logger.warning("Write Story: %s", "; ".join(written.warnings))
        tell_node(hidden, "\n".join(written.warnings))
        return io.NodeOutput(
            _story(written), written.text, request, ui=ui.PreviewText(written.text)
        )


def outputs_of_answer(
    idea, shots, minutes, style, cast, language, dialogue, answer, **_
) -> list:  # fmt: skip
    """What the node gives for a pasted answer, with nothing shown and nothing written."""
    wish = _wish(idea, shots, minutes, style, cast, language, dialogue, answer)
    written = _read(answer, wish)
    return [_story(written), written.text, story_request(wish)]


def _wish(idea, shots, minutes, style, cast, language, dialogue, answer) -> Wish:
    return make_wish(
        NO_IDEA if answer.strip() and not idea.strip() else idea,
        shots=shots,
        minutes=minutes,
        style=style,
        cast=cast,
        language=language,
        dialogue=dialogue,
    )


def _story(written: Written):
    return replace(written.story, warnings=(*written.story.warnings, *written.warnings))


def _read(answer: str, wish: Wish) -> Written:
    try:
        return read_answer(answer, wish)
    except AnswerError as error:
        raise ValueError(f"answer holds no script: {error}") from None


def _ask(clip, wish: Wish, seed: int, portraits, sampling: dict) -> Written:
    """What a CLIP of the host writes.

    Raises:
        ValueError: for a CLIP that cannot write, and when no answer was a script: then the last
            one lies in the output folder.
    """

    def model(request: str, number: int) -> str:
        throw_exception_if_processing_interrupted()
        return generate(clip, request, (seed + number) % 2**64, portraits, **sampling)

    try:
        return write_story(wish, model)
    except AnswerError as error:
        kept = keep_answer(error.answer)
        raise ValueError(
            f"the language model's answer is no script, after {TRIES} tries: {error}; its last "
            f"answer is kept in {kept}: correct it and paste it into answer, or try another seed, "
            "fewer shots, or a larger model"
        ) from None


def generate(
    clip, request: str, seed: int, image=None, *, temperature: float, max_length: int
) -> str:
    """The answer of a CLIP of the host to a request, sampled as its Generate Text node does.

    Raises:
        ValueError: for a CLIP that cannot generate text.
    """
    cannot = (
        "the text encoder at clip cannot write text; connect a language model, such as Gemma or "
        "Qwen in Load CLIP, or leave clip empty and paste an answer"
    )
    if not callable(getattr(clip, "generate", None)):
        raise ValueError(f"{cannot} (this ComfyUI may be too old for it)")
    try:
        tokens = clip.tokenize(
            request, image=image, skip_template=False, min_length=1, thinking=False
        )
        ids = clip.generate(
            tokens,
            do_sample=True,
            max_length=max_length,
            temperature=temperature,
            top_k=64,
            top_p=0.95,
            min_p=0.05,
            repetition_penalty=1.0,  # the same words are wanted again in every prompt
            seed=seed,
        )
        return str(clip.decode(ids))
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(f"{cannot} ({reason_of(error)})") from error


def keep_answer(answer: str) -> str:
    """Write an answer into the output folder, else into the log; where, as the artist finds it."""
    name = f"answer_{digest_of(answer)[:12]}.txt"
    path = Path(folder_paths.get_output_directory()) / ANSWERS / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, answer.encode("utf-8", "replace"))
    except OSError as error:
        logger.warning("%s cannot be written (%s); it says: %s", path, reason_of(error), answer)
        return "the log"
    return f"output/{ANSWERS}/{name}"


NODES = [WriteStory]
