"""A story and its script (see :mod:`storymem.script`)."""

from .script.reader import load_story
from .script.story import Shot, Story, summarise

__all__ = ["Shot", "Story", "load_story", "summarise"]
