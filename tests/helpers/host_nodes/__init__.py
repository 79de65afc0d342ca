"""Test-only nodes, loaded into the host beside the pack: what has no tiny real form, and probes."""

from __future__ import annotations

import hashlib

import torch
from comfy_api.latest import ComfyExtension, io

import nodes

from .broken_host import NODES as BREAKING_NODES
from .core_loop import NODES as STANDIN_LOOP_NODES
from .loop_body import NODES as LOOP_NODES
from .loop_body import TestFileLoader
from .sound import NODES as SOUND_NODES

CLIPS: dict[str, object] = {}  # what Clip nodes give, by name, for in-process tests
STANDINS = STANDIN_LOOP_NODES  # that a test may give a host which lacks them
RECORDED: dict[str, object] = {}  # what Record nodes saw, by key, for in-process tests


class HashedTextEncoder:
    """Stands where umt5-xxl would: each word is a seeded 4096-d vector, 512 slots as Wan has."""

    def tokenize(self, text, **_):
        return text

    def encode_from_tokens_scheduled(self, text, **_):
        embedding = torch.zeros(1, 512, 4096)
        for slot, word in enumerate(text.lower().split()[:512]):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little") % 2**63
            embedding[0, slot] = torch.randn(4096, generator=torch.Generator().manual_seed(seed))
        return [[embedding, {}]]


class TestTextEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestTextEncoder",
            category="StoryMem/test",
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def execute(cls):
        return io.NodeOutput(HashedTextEncoder())


class Record(io.ComfyNode):
    """Keeps any value under a key for the test to look at."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestRecord",
            category="StoryMem/test",
            inputs=[io.AnyType.Input("value"), io.String.Input("key", default="value")],
            outputs=[],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        return float("nan")

    @classmethod
    def execute(cls, value, key):
        RECORDED[key] = value
        return io.NodeOutput()


class Clip(io.ComfyNode):
    """Gives a value that the test put into CLIPS under a name: as an IMAGE, a SHOT, and so on."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemTestClip",
            category="StoryMem/test",
            inputs=[io.String.Input("name")],
            outputs=[
                io.Image.Output(),
                io.Custom("STORYMEM_SHOT").Output(),
                io.Custom("STORYMEM_EMBEDDER").Output(),
                io.Clip.Output(),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, name):
        return id(CLIPS[name])

    @classmethod
    def execute(cls, name):
        return io.NodeOutput(*[CLIPS[name]] * 4)


class TestExtension(ComfyExtension):
    async def get_node_list(self):
        # A node of the old kind, which the host takes from a module without this class only.
        nodes.NODE_CLASS_MAPPINGS["StoryMemTestFileLoader"] = TestFileLoader
        return [TestTextEncoder, Clip, Record, *BREAKING_NODES, *LOOP_NODES, *SOUND_NODES]


async def comfy_entrypoint():
    return TestExtension()
