"""A tiny StoryMem for demos and tests: a synthetic story world, a judge, and models trained on it.

Nothing here is needed to run StoryMem with real weights. Axes as in ``storymem``, plus ``N`` scenes
(one rendered clip each), ``S`` stories, ``K`` shots of a story and ``P = 2`` characters of a story.
"""
