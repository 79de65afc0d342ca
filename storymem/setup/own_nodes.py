"""Classes of this pack's nodes: names that a report may hold, as they are nobody's own."""

OWN_NODES = frozenset({
    "StoryMemAestheticFilter", "StoryMemApplyShotLoRAs", "StoryMemBeginStory",
    "StoryMemChooseMemory", "StoryMemDraftSettings", "StoryMemEditMemoryBank",
    "StoryMemEvaluateStory", "StoryMemFinishShot", "StoryMemJoinStory", "StoryMemKeyframeSelect",
    "StoryMemLoadEmbedder", "StoryMemLoadLoRA", "StoryMemLoadMemoryBank", "StoryMemLoadScorer",
    "StoryMemLoadStartImages", "StoryMemLoadStory", "StoryMemM2VConditioning", "StoryMemM2VGuider",
    "StoryMemM2VModelPatch", "StoryMemM2VSampler", "StoryMemMatchColor", "StoryMemMemoryBank",
    "StoryMemNextShot", "StoryMemPreviewMemoryBank", "StoryMemRehearsal", "StoryMemRemember",
    "StoryMemSampler", "StoryMemSaveMemoryBank", "StoryMemShotLoopClose", "StoryMemShotLoopOpen",
    "StoryMemSigmas", "StoryMemStoryBoard", "StoryMemStoryShots", "StoryMemTinyPortrait",
    "StoryMemTinyTextEncoder", "StoryMemWriteStory",
})  # fmt: skip
