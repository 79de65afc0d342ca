"""Nodes of several cards in a loop: no finished shot is made again, and idle cards are told of."""

from __future__ import annotations

import asyncio
import json

import pytest

from helpers.loop_graphs import story
from helpers.lora_graphs import applied, plain
from helpers.plan_ahead import ask_plan
from helpers.told_notices import SAMPLER, added, inputs, shipped_prompts, told
from helpers.two_cards import see_two_cards

SPLIT = "MultiGPU_WorkUnits"
KINDS = (SPLIT, "SelectModelDevice")


@pytest.fixture(autouse=True)
def kinds(host):
    import nodes

    if SPLIT not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this host uses one card")


def on_cards(graph: dict, *names: str, sampler: str = "sampler", kinds=KINDS) -> dict:
    """``graph`` with nodes of cards before these models of a sampler."""
    graph = json.loads(json.dumps(graph))
    models = graph[sampler]["inputs"]
    for name in names or ("model_high", "model_low"):
        for kind in kinds:
            own = {"max_gpus": 2} if kind == SPLIT else {"device": "default"}
            graph[f"{kind} {name}"] = {"class_type": kind, "inputs": {"model": models[name], **own}}
            models[name] = [f"{kind} {name}", 0]
    return graph


def described(host, graph: dict):
    """The loop's description, and where LoRAs of single shots are applied in it."""
    from comfy_execution.graph import DynamicPrompt

    loop = host.pack("nodes.loop.read_graph").read_loop(DynamicPrompt(graph), "close")
    text = asyncio.run(host.pack("nodes.loop.cards").describe_body(loop))
    names = host.pack("nodes.loop.body_names").body_names(loop, {})
    return text, loop.lora_place, names


@pytest.fixture
def output(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    return tmp_path / "output"


@pytest.mark.parametrize("with_loras", [False, True])
@pytest.mark.parametrize("names", [("model_high", "model_low"), ("model_low",)])
def test_a_loop_is_described_as_if_they_were_not_there(host, output, with_loras, names):
    graph = plain(story(2))
    graph = applied(graph) if with_loras else graph
    assert described(host, on_cards(graph, *names)) == described(host, graph)
    if with_loras:  # before the LoRAs, too
        behind = on_cards(plain(story(2)), *names)
        assert described(host, applied(behind)) == described(host, graph)


def test_other_inputs_count_beside_them(host, output):
    graph = on_cards(plain(story(2)))
    before = described(host, graph)
    graph["sampler"]["inputs"]["steps"] += 1
    assert described(host, graph) != before


def test_the_hosts_devices_for_text_and_vae_do_not_count_either(host, output):
    graph = plain(story(2))
    moved = json.loads(json.dumps(graph))
    moved["vae card"] = {
        "class_type": "SelectVAEDevice",
        "inputs": {"vae": moved["sampler"]["inputs"]["vae"], "device": "gpu:1"},
    }
    moved["sampler"]["inputs"]["vae"] = ["vae card", 0]
    assert described(host, moved) == described(host, graph)


def test_a_film_made_when_they_counted_keeps_its_shots(host, output):
    """Its store knows the description with them."""
    from comfy_execution.graph import DynamicPrompt

    graph = on_cards(plain(story(2)))
    loop = host.pack("nodes.loop.read_graph").read_loop(DynamicPrompt(graph), "close")
    counted = json.dumps([loop.render_versions(), asyncio.run(loop.describe())])
    assert SPLIT in counted
    assert SPLIT not in described(host, graph)[0]
    folder = host.pack("nodes.host.store").STORE_FOLDER
    host.pack("storymem.loop.shot_store").ShotStore(output / folder).keep_body(counted)
    assert described(host, graph)[0] == counted


def test_a_finished_film_is_not_made_again_for_them(host, output):
    def states(graph: dict) -> list[str]:
        return [shot["state"] for shot in ask_plan(host, graph)["shots"]]

    assert states(plain(story(2)))[0] == "make"
    host.run(plain(story(2)))
    with_nodes = on_cards(plain(story(2)))
    assert states(with_nodes) == ["finished"] * 2
    host.run(with_nodes)
    assert len(list(output.rglob("record.json"))) == 2
    assert states(plain(story(2))) == ["finished"] * 2


# --- what is told ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped(host) -> str:
    return shipped_prompts()["storymem_story"]


@pytest.fixture
def look(host, tmp_path, shipped, monkeypatch):
    """Notices of the shipped workflow with MultiGPU CFG Split on some models, as (kind, text)."""

    def all_of(names=("model_high", "model_low"), *, cards=2, max_gpus=2, **values):
        if cards == 2:
            see_two_cards(monkeypatch)
        prompt = json.loads(shipped)
        models = inputs(prompt, SAMPLER)
        for name in names:
            models[name] = [added(prompt, SPLIT, model=models[name], max_gpus=max_gpus), 0]
        models.update(values)
        found, _ = told(host, tmp_path, prompt)
        return [(prompt[n.node_id]["class_type"], n.text) for n in found]

    return all_of


def test_both_experts_with_guidance_tell_nothing(look):
    assert look() == look(()) == look((), cfg=1.0) == []
    assert look(cfg=1.0, cfg_cut=4.0) == []


def test_guidance_that_is_off_is_told_on_the_sampler(look):
    ((kind, text),) = look(cfg=1.0)
    assert kind == SAMPLER
    assert "the second card stays idle; raise cfg" in text


@pytest.mark.parametrize(
    ("values", "name"),
    [({"cfg_low": 1.0}, "model_low"), ({"cfg": 1.0, "cfg_low": 3.0}, "model_high")],
)
def test_guidance_that_is_off_in_one_expert_is_told_of_it(look, values, name):
    ((kind, text),) = look(**values)
    assert (kind, text.partition(" is off")[0]) == (SAMPLER, f"guidance of {name}")


@pytest.mark.parametrize("name", ["model_high", "model_low"])
def test_the_node_on_one_expert_alone_is_told(look, name):
    ((kind, text),) = look((name,))
    other = "model_low" if name == "model_high" else "model_high"
    assert (kind, text.partition(" ")[0]) == (SAMPLER, other)
    assert "put the node on both experts" in text


def test_one_card_is_told_on_the_node_and_nothing_else(look):
    found = look(max_gpus=1, cfg=1.0)
    assert [kind for kind, _ in found] == [SPLIT, SPLIT]
    assert {text.partition(",")[0] for _, text in found} == {"max_gpus is 1"}


def test_a_machine_with_one_card_is_told(look):
    found = look(cards=1)
    assert [kind for kind, _ in found] == [SPLIT, SPLIT]
    assert {text.partition(",")[0] for _, text in found} == {"ComfyUI sees one card"}
