"""The full story with sound: music under the film, ambience made for each shot, dialogue."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .film import add_film
from .parts import STORY, add_models, model, model_note, negative_note

PREFIX = "storymem_sound"
AUDIO = model(
    "stable-audio-open-1.0.safetensors",
    "https://huggingface.co/Comfy-Org/stable-audio-open-1.0_repackaged/resolve/main/"
    "stable-audio-open-1.0.safetensors",
    "checkpoints",
)
AUDIO_TEXT = model(
    "t5-base.safetensors",
    "https://huggingface.co/ComfyUI-Wiki/t5-base/resolve/main/t5-base.safetensors",
    "text_encoders",
)
SAMPLER = {
    "seed": 7,
    "steps": 50,
    "cfg": 4.98,
    "sampler_name": "dpmpp_3m_sde_gpu",
    "scheduler": "exponential",
    "denoise": 1.0,
}
SECONDS_OF_A_SHOT = 5.5  # 81 frames at 16 a second last 5.06; what goes beyond is not heard
SECONDS_OF_MUSIC = 47.0  # the longest that Stable Audio Open makes
NOISES = "Ambient sound and foley, no music, no speech:"
MUSIC = "Calm cinematic folk, fingerpicked guitar and soft strings, sea, morning, hopeful, 80 BPM"
SAID = STORY.replace("[continue]\n", "[continue]\n[dialogue: Mara: Come on, Pip.]\n", 1)
TITLE_NOTE = f"""# A story with sound

The whole story as in *storymem_story*, and what is heard of it.

1. Load the model files (both tables). Write the story in *Load Story*, queue. The film in \
`output/{PREFIX}/<story>/` has sound, and so has each shot that has any.
2. **Music**: what comes to *audio* of *Shot Loop Close* lies under the whole film, \
*audio_gain* decibels louder or quieter. Put *Load Audio* there for a file of your own.
3. **Each shot**: what comes to *shot_audio* is made once per shot, when its pictures are \
finished. Change the words, the seed or the nodes and queue again: only the sounds are made, and \
no picture is generated or encoded again.
4. **Dialogue**: `[dialogue: Mara: Come on, Pip.]` in the script is given out by *Shot Loop Open* \
as *dialogue*. Connect a text-to-speech node of your choice to it, and its sound to *shot_audio* \
instead of the ambience. In a shot where nothing is said such a node does not run, and the shot \
is silent.
5. **Files**: `[audio: knock.wav]` in the script plays a file from the input folder in one shot, \
where nothing is connected to *shot_audio*.
"""
MODEL_NOTE = f"""## Sound models

| what | file | folder |
|---|---|---|
| Stable Audio Open 1.0 | [{AUDIO["name"]}]({AUDIO["url"]}) | `models/checkpoints` |
| Its text encoder | [{AUDIO_TEXT["name"]}]({AUDIO_TEXT["url"]}) | `models/text_encoders` |

Both groups of sound use them. Any other nodes that give AUDIO do as well: foley from the \
*frames*, speech from the *dialogue*, music from a file.

**Licence.** Stable Audio Open is under the Stability AI Community License.

**Measured here:** that this graph runs, with stand-ins for the models. **Not measured:** how it \
sounds.
"""


def add_sound(graph: Builder, start: dict) -> dict:
    """Music and the sound of each shot; the inputs of Shot Loop Close."""
    column = graph.column(0, 1500)
    loader = column.add(
        "CheckpointLoaderSimple",
        title="Stable Audio Open",
        models=[AUDIO],
        ckpt_name=AUDIO["name"],
    )
    clip = column.add(
        "CLIPLoader",
        title="Its text encoder",
        models=[AUDIO_TEXT],
        clip_name=AUDIO_TEXT["name"],
        type="stable_audio",
        device="default",
    )
    graph.group("6  Sound model", column.nodes)

    def nothing(column) -> dict:
        return column.add("CLIPTextEncode", title="Nothing", clip=(clip, "CLIP"), text="")

    def sounding(column, text, empty, seconds: float) -> dict:
        words = column.add("CLIPTextEncode", title="What is heard", clip=(clip, "CLIP"), text=text)
        length = column.add("EmptyLatentAudio", seconds=seconds, batch_size=1)
        sampled = column.add(
            "KSampler",
            model=(loader, "MODEL"),
            positive=(words, "CONDITIONING"),
            negative=(empty, "CONDITIONING"),
            latent_image=(length, "LATENT"),
            widgets=SAMPLER,
        )
        return column.add("VAEDecodeAudio", samples=(sampled, "LATENT"), vae=(loader, "VAE"))

    column = graph.column(420, 1500, width=440)
    empty = nothing(column)
    music = sounding(column, MUSIC, empty, SECONDS_OF_MUSIC)
    graph.group("7  Music of the film (runs once)", column.nodes, "#8a6d3b")

    column = graph.column(940, 1500, width=360)
    words = column.add(
        "StringConcatenate",
        title="Words for the sound",
        string_a=NOISES,
        string_b=(start, "prompt"),
        delimiter=" ",
    )
    of_shot = sounding(column, (words, "STRING"), empty, SECONDS_OF_A_SHOT)
    graph.group("8  Sound of one shot (once per shot)", column.nodes, "#6b8e23")
    return {
        "shot_audio": (of_shot, "AUDIO"),
        "audio": (music, "AUDIO"),
        "audio_gain": -12.0,
        "audio_fade_in": 1.0,
        "audio_fade_out": 3.0,
    }


def sound_graph(info: dict) -> dict:
    graph = Builder(info, "storymem_sound")
    add_film(graph, add_models(graph), prefix=PREFIX, story=SAID, sound=add_sound)
    graph.note((0, -700), (760, 560), "A story with sound", TITLE_NOTE)
    graph.note((800, -700), (680, 560), "Sound models", MODEL_NOTE)
    graph.note((1520, -700), (700, 560), "Model files", model_note(t2v=False))
    negative_note(graph, (2260, -700), 560)
    return graph.file()


GRAPHS = {"storymem_sound": sound_graph}
