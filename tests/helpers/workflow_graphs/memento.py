"""The story with Memento's memory: chosen by its keyframe query, placed in real time."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .film import add_film
from .parts import T5, VAE, add_models, memento_lora, model_table, negative_note, wan_unet

A = "a young woman with a long black braid, a green wool coat and a red scarf"
B = "an old man with a white beard, a flat cap and a brown corduroy jacket"
STORY = f"""[title: The Orchard Letter]
[reconstruct_target: [Person A] {A}]
[reconstruct_target: [Person B] {B}]
---
global caption: [Person A]: {A}; shot caption: Wide shot. [Person A] walks between apple trees \
in morning fog, a letter in hand. Slow dolly forward.
---
[continue]
global caption: [Person A]: {A}; shot caption: [Person A] stops at a wooden gate, reads the letter \
once more and looks up. Medium shot, the fog lifts behind her.
---
global caption: [Person A]: {A}, [Person B]: {B}; shot caption: Inside a barn. [Person B] sorts \
red apples into crates and turns round when [Person A] comes in. Warm light through the boards.
---
global caption: [Person B]: {B}; shot caption: Close-up. [Person B] takes off his cap, reads the \
letter slowly, and smiles. Shallow depth of field.
"""
SETTINGS = {"shift": 5.0, "cfg": 3.5, "cfg_cut": 5.0}
TITLE_NOTE = """# A story with Memento

[Memento](https://arxiv.org/abs/2606.14667) is another memory model on the same Wan2.2. By its \
pages its LoRA may be used commercially; StoryMem's may not.

1. Load the model files (table on the right) and choose them in group 1. *Load Story LoRA* knows \
whose files they are, and everything after it follows.
2. Write the story in *Load Story*, in Memento's form: each prompt is `global caption: [Person A]: \
who that is, ...; shot caption: what happens.` A line `[reconstruct_target: [Person A] ...]` for \
each person goes on top. Memento's own JSON scripts work as they are.
3. Queue. *Keyframe Select* takes 8 frames of each shot, *Choose Memory* keeps the 8 that matter \
most for the next one: for each expert its own, what is not chosen is gone. It shows which, and why.
4. To see whom the model remembers, put a VAE Decode and a Preview Image after *identity* of *M2V \
Sampler*: its own portrait of the cast, of every shot that the run makes.
"""
SETTINGS_NOTE = """## What differs from StoryMem, and why

| setting | here | StoryMem | why |
|---|---|---|---|
| shift | 5 | 4 | Memento's released run |
| cfg | 3.5 | 3.5 | the same |
| cfg_cut | 5 | 0 (as cfg) | shots after a cut: 3.5 + 1.5 in its released run |
| Keyframe Select | even, 8 | semantic, 3 | candidates that the query chooses from |
| Choose Memory | yes | no | its keyframe query, learned with the LoRA |
| identity_positive | reconstruct_target | - | a frame of the cast that memory looks at |
| identity_negative | empty text | - | as its released run has it |

A script without `reconstruct_target` makes no portrait; nothing need be unplugged. Nor does a \
first shot by the T2V pair.

**Checked here:** that every step computes what Memento's released code computes, on small random \
models. **Not checked:** its real weights, how its films look, and what its authors say of it \
against StoryMem.
"""


def memento_note() -> str:
    """The models table, how the LoRA pair is found, and the licences."""
    table = model_table(
        [
            ("Wan2.2 I2V high noise", wan_unet("i2v", "high")),
            ("Wan2.2 I2V low noise", wan_unet("i2v", "low")),
            ("Memento LoRA high noise", memento_lora("high")),
            ("Memento LoRA low noise", memento_lora("low")),
            ("Text encoder", T5),
            ("VAE", VAE),
            ("Optional: Wan2.2 T2V high noise", wan_unet("t2v", "high")),
            ("Optional: Wan2.2 T2V low noise", wan_unet("t2v", "low")),
        ]
    )
    return (
        f"{table}\n\n"
        "The two Memento files come as `backbone_high_noise.pth` and `backbone_low_noise.pth`. "
        "Nothing need be renamed: *Load Story LoRA* finds them in `models/loras/Memento`, or under "
        "the names above. Nothing that a `.pth` file contains is run.\n\n"
        "**Licences.** Wan2.2 and, by its pages, Memento are Apache-2.0."
    )


def memento_graph(info: dict) -> dict:
    graph = Builder(info, "memento_story")
    parts = add_models(graph, lora=memento_lora)
    add_film(
        graph, parts, t2v=True, sampler=SETTINGS, prefix="memento_story", story=STORY, memento=True
    )
    graph.note((0, -620), (900, 480), "A story with Memento", TITLE_NOTE)
    graph.note((940, -620), (760, 480), "What differs", SETTINGS_NOTE)
    graph.note((1740, -620), (900, 480), "Model files", memento_note())
    negative_note(graph, (2680, -620), 480)
    return graph.file()


GRAPHS = {"memento_story": memento_graph}
