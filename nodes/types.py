"""Wire types of the pack and the library class that each one carries."""

from comfy_api.latest import io

Story = io.Custom("STORYMEM_STORY")  # storymem.script.story.Story
Shot = io.Custom("STORYMEM_SHOT")  # storymem.sampling.continuity.ShotPlan
Bank = io.Custom("STORYMEM_BANK")  # storymem.memory.bank.MemoryBank
Keyframes = io.Custom("STORYMEM_KEYFRAMES")  # storymem.selection.keyframes.Keyframes
Embedder = io.Custom("STORYMEM_EMBEDDER")  # storymem.memory.embedders.Embedder
Scorer = io.Custom("STORYMEM_SCORER")  # storymem.selection.scorers.Scorer
Flow = io.Custom("STORYMEM_FLOW")  # from Shot Loop Open to its Close; the loop's settings
Positions = io.Custom("STORYMEM_POSITIONS")  # storymem.sampling.memory_layout.MemoryLayout
Draft = io.Custom("STORYMEM_DRAFT")  # storymem.sampling.draft.Draft: settings of a pass
State = io.Custom("STORYMEM_STATE")  # storymem.loop.state.LoopState: the one loop-carried value
