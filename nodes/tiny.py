"""Demo nodes of the tiny model: they speak the language of its toy world and of nothing else."""

from __future__ import annotations

import logging

import folder_paths
from comfy_api.latest import io

from ..storymem.files.messages import shown
from ..storymem.tiny import demo, files, text, world

CATEGORY = "StoryMem/demo"
logger = logging.getLogger(__name__)


def register_weights() -> None:
    """Let the stock loaders list the tiny model's files, those that are there."""
    for kind in files.FILES:
        path = files.find(kind)
        if path is not None:
            try:
                files.check_edition(path)
            except ValueError as error:  # the host starts all the same, and lists the file
                logger.warning("StoryMem: %s", error)
            folder_paths.add_model_folder_path(kind, str(path.parent))


class TinyTextEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTinyTextEncoder",
            display_name="Tiny Text Encoder (demo)",
            category=CATEGORY,
            description="A demo, for the tiny model only: turns the few words of its toy world "
            "into conditioning. Write name, action, name, action, place, camera, framing, such as "
            "'Bomo jumps, Fipi stands, meadow, still, wide'; whoever comes first stands on the "
            "left. Real models need CLIP Text Encode.",
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="Bomo jumps, Fipi stands, meadow, still",
                    tooltip="".join(
                        f"Names of the {kind} one: {', '.join(names)}. "
                        for kind, names in zip(world.KINDS, world.NAMES, strict=True)
                    ) + "Two characters a shot at most; the first stands on the left. Actions: "
                    + ", ".join(world.ACTIONS) + ". Places: " + ", ".join(world.PLACES)
                    + ". Cameras: " + ", ".join(world.CAMERAS) + ". Framings: "
                    + ", ".join(world.SAID_FRAMINGS)
                    + "; without one, medium. Other words are ignored.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="What to avoid, in the same words. Has no effect while the sampler's "
                    "cfg is 1, which suits the tiny model best. Safe: empty.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="positive", tooltip="The encoded prompt, for M2V Sampler."
                ),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The encoded negative prompt."
                ),
                io.String.Output(
                    display_name="understood", tooltip="The words that were understood."
                ),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, prompt, negative_prompt=""):
        if not any(text.parse(prompt)):
            logger.warning(
                "StoryMem: the tiny text encoder recognises no word of %s; it knows only the toy "
                "world's words, which its tooltip lists",
                shown(prompt),
            )
        encoded = [[[text.encode(t)[None], {}]] for t in (prompt, negative_prompt)]
        return io.NodeOutput(*encoded, demo.explain(prompt))


class TinyPortrait(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def choice(name, options, default, tooltip):
            return io.Combo.Input(name, options=list(options), default=default, tooltip=tooltip)

        defaults = demo.LOOKS[0].split()
        return io.Schema(
            node_id="StoryMemTinyPortrait",
            display_name="Tiny Portrait (demo)",
            category=CATEGORY,
            description="A demo, for the tiny model only: draws a character of its toy world as a "
            "reference picture for Memory Bank. No prompt describes the look: the model can only "
            "know it from memory.",
            inputs=[
                choice(
                    "character",
                    world.KINDS,
                    "big",
                    "Who it is: the big one with two eyes, the small one with one eye, or the tall "
                    "one with legs and a visor. In the prompt, the name decides which.",
                ),
                *(
                    choice(name, values, default, f"The character's {name}.")
                    for (name, values), default in zip(
                        world.ATTRIBUTES.items(), defaults, strict=True
                    )
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The portrait, 96x96 pixels.")],
        )

    @classmethod
    def execute(cls, character, hue, pattern, shape, accessory):
        look = demo.parse_look(f"{hue} {pattern} {shape} {accessory}")
        return io.NodeOutput(demo.portrait(character, look)[None])


NODES = [TinyTextEncoder, TinyPortrait]
