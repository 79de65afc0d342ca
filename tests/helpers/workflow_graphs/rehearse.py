"""The full story, drafted first, with the draft's own pictures as the film's first memory."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .film import add_film
from .parts import add_models, model_note, negative_note

PREFIX = "storymem_rehearse"
DRAFT = {"steps": 12, "cfg": 3.5}
TITLE_NOTE = f"""# Rehearse, then film

The whole story as in *storymem_story*, made twice: as a draft of few steps, and as a film that \
begins with the draft's own pictures of everybody. No portraits are needed.

1. Load the model files (table on the right). Write the story in *Load Story*, with everybody's \
name under `[cast: ...]`, and use the names in the prompts.
2. **Draft**: *Shot Loop Open* says *pass* draft. Queue. The draft goes to \
`output/{PREFIX}/<story>.draft/`. Look at it in the story editor (*Shows*: Draft), print its \
*Board*, change prompts, queue again: only what changed is made.
3. **Choose**: *Rehearsal Memory* shows one frame of everybody, the sharpest that shows them \
alone. Drop one, restore another, add portraits of your own to *Memory Bank*.
4. **Film**: set *pass* to film and queue.

With a draft of a story of two characters or more in the cast, *rehearsals* on *Shot Loop Open* \
(advanced) makes draft and film in one queue instead.
"""
SETTINGS_NOTE = """## What the draft costs

| | draft here | film |
|---|---|---|
| steps, CFG | 12, 3.5 | 40, 3.5 |
| model calls a shot | 24 | 80 |
| pixels | half | all |

With the lightx2v 4-step pair as *lora_high* and *lora_low* of *Draft Settings*, steps 4 and \
cfg 1, a shot of the draft takes 4 model calls.

**Measured** on the tiny model, 192 stories without portraits: .702 of all looks are kept in one \
pass, .876 after a draft of 6 of the film's 20 steps. **Not measured**: the same with the real \
model.
"""


def rehearse_graph(info: dict) -> dict:
    graph = Builder(info, "storymem_rehearse")
    add_film(graph, add_models(graph), prefix=PREFIX, draft=DRAFT)
    graph.note((0, -620), (760, 480), "Rehearse, then film", TITLE_NOTE)
    graph.note((800, -620), (680, 480), "What the draft costs", SETTINGS_NOTE)
    graph.note((1520, -620), (700, 480), "Model files", model_note(t2v=False))
    negative_note(graph, (2260, -620), 480)
    return graph.file()


GRAPHS = {"storymem_rehearse": rehearse_graph}
