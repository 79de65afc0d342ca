"""Workflows at a size that two cores can run."""

from __future__ import annotations

LENGTH = 17


def make_tiny(prompt: dict, **widgets) -> dict:
    """The same graph at a size two cores can run, with the test's text encoder."""
    for node in prompt.values():
        if node["class_type"] == "CLIPLoader":
            node.update(class_type="StoryMemTestTextEncoder", inputs={})
        for name, value in {"width": 64, "height": 48, "length": LENGTH, "steps": 3}.items():
            if name in node["inputs"] and node["class_type"] != "ImageFromBatch":
                node["inputs"][name] = value
        if node["class_type"] == "SplitSigmas":
            node["inputs"]["step"] = 1
        for name, value in widgets.items():
            if name in node["inputs"]:
                node["inputs"][name] = value
    return prompt
