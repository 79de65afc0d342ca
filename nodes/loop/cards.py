"""Nodes of the host that say on which cards things run: what a loop's keys and notices say of them.

A loop is described as if they were not there, as it is not described on which machine it runs: the
same shot comes of it. So they may come into the workflow of a finished film, or go.
"""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
from comfy_execution.graph_utils import is_link

from ...storymem.files.hashing import digest_of
from ...storymem.loop.peek_store import PeekStore
from ..host.cards import SPLIT
from ..host.store import STORE_FOLDER

PASSES = {  # what each hands on, by kind
    SPLIT: "model",
    "SelectModelDevice": "model",
    "SelectCLIPDevice": "clip",
    "SelectVAEDevice": "vae",
}


def is_of_cards(node: dict) -> bool:
    """Whether a node says on which cards what it hands on runs."""
    return node["class_type"] in PASSES and is_link(node["inputs"].get(PASSES[node["class_type"]]))


class PastCards:
    """A prompt in which everything goes past such nodes.

    Args:
        dynprompt: the host's.
    """

    def __init__(self, dynprompt):
        self._dynprompt = dynprompt

    def __getattr__(self, name: str):
        return getattr(self._dynprompt, name)

    def get_node(self, node_id: str) -> dict:
        """A node, with what feeds such a node in the place of that."""
        node = self._dynprompt.get_node(node_id)
        inputs = {name: self._passed(value) for name, value in node["inputs"].items()}
        return node if inputs == node["inputs"] else {**node, "inputs": inputs}

    def _passed(self, value: object) -> object:
        while is_link(value) and is_of_cards(node := self._dynprompt.get_node(value[0])):
            value = node["inputs"][PASSES[node["class_type"]]]
        return value


async def describe_body(graph) -> str:
    """What makes the shots of a loop, as a text; from then on the graph's ``lora_place`` is that of
    this text.

    Nodes of cards are no part of it, unless shots were made with this graph when they were.
    """
    graph.counts_cards = True
    body = await _describe(graph)
    store = PeekStore(Path(folder_paths.get_output_directory()) / STORE_FOLDER)
    if graph.has_card_nodes and store.find_body(digest_of(body)) is None:
        graph.counts_cards = False
        body = await _describe(graph)
    return body


async def _describe(graph) -> str:
    return json.dumps([graph.render_versions(), await graph.describe()])
