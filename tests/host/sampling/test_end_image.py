"""A shot that ends with a picture gets what the host's own first-last-frame node gives, to the bit,
with the memory in front; and what a loop's nodes cannot end is told before the first shot."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from helpers.loop_graphs import lines_of, loop_graph, story
from helpers.m2v_helpers import M2V, rel_l2
from helpers.plan_ahead import ask_plan

WIDTH, HEIGHT = 48, 32


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.stack([noise_image(seed + i, HEIGHT, WIDTH) for i in range(count)]).float() / 255


def by_the_host(m2v, length: int, start, end) -> list[dict]:
    import nodes

    node = nodes.NODE_CLASS_MAPPINGS["WanFirstLastFrameToVideo"]
    with torch.inference_mode():
        made = node.execute(
            m2v.pos, m2v.neg, m2v.vae, WIDTH, HEIGHT, length, 1, start_image=start, end_image=end
        ).result
    return [conditioning[0][1] for conditioning in made[:2]]


def by_the_pack(m2v, length: int, **given) -> tuple[list[dict], int]:
    made = m2v.condition(length=length, **given)
    return [conditioning[0][1] for conditioning in made[:2]], made[4]


@pytest.mark.parametrize(
    ("begins", "length"),
    [
        *((begins, length) for begins in ("", "start_image", "last_frame") for length in (5, 17)),
        ("last_five_frames", 9),
        ("last_five_frames", 17),
    ],
)
def test_without_memory_it_is_the_hosts_own_node_to_the_bit(m2v, length, begins):
    end, clip = pictures(1, 90), pictures(5, 40)
    start = {"": None, "last_five_frames": clip}.get(begins, clip[-1:])
    given = {"end_image": end}
    if begins == "start_image":
        given["start_image"] = start
    elif begins:
        given |= {"previous_frames": clip, "continuity": begins}
    ours, memory_frames = by_the_pack(m2v, length, **given)
    assert memory_frames == 0
    for own, theirs in zip(ours, by_the_host(m2v, length, start, end), strict=True):
        assert torch.equal(own["concat_latent_image"], theirs["concat_latent_image"].cpu())
        assert own["concat_mask"].shape == theirs["concat_mask"].shape
        assert torch.equal(own["concat_mask"], theirs["concat_mask"].cpu())


def test_memory_stands_before_it_and_changes_nothing_of_it(m2v):
    end = pictures(1, 90)
    alone, _ = by_the_pack(m2v, 9, end_image=end)
    beside, count = by_the_pack(m2v, 9, end_image=end, bank=m2v.bank(3))
    remembered, _ = by_the_pack(m2v, 9, bank=m2v.bank(3))
    assert count == 3
    for with_memory, without, plain in zip(beside, alone, remembered, strict=True):
        latents, mask = (with_memory[name] for name in ("concat_latent_image", "concat_mask"))
        assert torch.equal(latents[:, :, 3:], without["concat_latent_image"])
        assert torch.equal(mask[:, :, 3:], without["concat_mask"])
        assert torch.equal(latents[:, :, :3], plain["concat_latent_image"][:, :, :3])
        assert mask.shape[1] == 4
        assert not mask[:, :, :3].any(), "the host's mask is 0 where the picture is known"
        assert plain["concat_mask"].shape[1] == 1


def received(m2v, **shot) -> torch.Tensor:
    """The conditioning channels as the model itself gets them, ``[1, 20, M+F, h, w]``."""
    seen = []

    def spy(apply_model, args):
        seen.append(args["c"]["c_concat"][:1].cpu())
        return apply_model(args["input"], args["timestep"], **args["c"])

    watched = m2v.high.clone()
    watched.set_model_unet_function_wrapper(spy)
    made = m2v.sample(model_high=watched, model_low=None, steps=1, **shot)
    assert made.shape[2] == 3, "the shot alone"
    return seen[0]


def test_the_model_itself_gets_one_known_channel_of_four(m2v, host):
    plan = m2v.shot()
    picture = host.pack("storymem.memory.picture").Picture(noise_image(90, HEIGHT, WIDTH))
    ended = replace(plan, end=picture)
    wired = received(m2v, bank=m2v.bank(2), end_image=pictures(1, 90))
    own = received(m2v, bank=m2v.bank(2), shot=ended, end_image=pictures(1, 7))
    assert torch.equal(wired, own), "the shot's own picture wins over the node's"
    plain = received(m2v, bank=m2v.bank(2))
    mask = wired[0, :4].mean(dim=(2, 3))
    assert mask.tolist() == [[1, 1, 0, 0, 0]] * 3 + [[1, 1, 0, 0, 1]]
    assert plain[0, :4].mean(dim=(2, 3)).tolist() == [[1, 1, 0, 0, 0]] * 4
    # Of the latents only those of the last frames differ: the VAE looks back, never ahead.
    assert rel_l2(wired[0, 4:, :4], plain[0, 4:, :4]) < 1e-5
    assert rel_l2(wired[0, 4:, 4], plain[0, 4:, 4]) > 0.01


def test_a_text_model_is_not_asked_to_end_a_shot(m2v):
    seen = []

    def spy(apply_model, args):
        seen.append(args["c"].get("c_concat"))
        return apply_model(args["input"], args["timestep"], **args["c"])

    high = m2v.high.clone()
    high.set_model_unet_function_wrapper(spy)
    m2v.sample(
        model_high=high, model_low=None, t2v_high=m2v.t2v_high, steps=1, end_image=pictures(1, 3)
    )
    assert seen, "without memory it would have been the T2V model's"
    assert seen[0] is not None


# --- in a loop ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh")
def test_an_end_image_of_the_script_is_checked_and_counts(host, log):
    path = host.base / "input" / "end.png"
    script = story(2, end_image=[None, "end.png"])
    graph = loop_graph(script, log)
    path.unlink(missing_ok=True)
    with pytest.raises(RuntimeError, match=r"names the end image 'end.png', which is not in the"):
        host.run(graph)
    assert "end image" in ask_plan(host, graph)["error"]
    Image.new("RGB", (16, 8), (250, 0, 0)).save(path)
    said = ask_plan(host, graph)
    assert said["error"] == ""
    told = json.dumps(said["notices"])
    assert "the script names end images, but its pictures are not used" in told, "a body of its own"
    host.run(graph)
    lines_of(log)
    Image.new("RGB", (16, 8), (0, 0, 250)).save(path)
    said = ask_plan(host, graph)
    assert [shot["state"] for shot in said["shots"]] == ["finished", "make"]
    assert said["shots"][1]["reasons"] == ["its end image changed"]
    host.run(graph)
    assert [line for line in lines_of(log) if "begin" in line] == ["begin 2 mm2v"]
    # A batch of one picture for each shot does the same; the script's own wins.
    graph = loop_graph(story(2), log, opened={"end_images": ["batch", 0]})
    graph["red"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 0xFF0000},
    }
    graph["batch"] = {"class_type": "ImageFromBatch",
                      "inputs": {"image": ["red", 0], "batch_index": 0, "length": 2}}  # fmt: skip
    assert [shot["state"] for shot in ask_plan(host, graph)["shots"]] == ["make", "make"]
    graph["batch"]["inputs"]["length"] = 1
    said = ask_plan(host, graph)["error"]
    assert said.startswith("end_images holds 1 pictures, but the story 'Tale' has 2 shots")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ({"length": 1}, "needs at least 5 frames"),
        ({"length": 9}, "is wan2.2_t2v_high_noise_14B.safetensors, made from text alone"),
        ({"length": 9, "file": "tiny_high.safetensors"}, ""),
    ],
)
def test_what_cannot_be_ended_is_told_before_the_first_shot(host, log, sampler, words):
    Image.new("RGB", (16, 8), (250, 0, 0)).save(host.base / "input" / "end.png")
    file = sampler.pop("file", "wan2.2_t2v_high_noise_14B.safetensors")
    wires = host.pack("nodes.loop.wires")
    ends = host.pack("nodes.loop.end_images")
    steps = host.pack("storymem.loop.plan")
    nodes = {
        "unet": {"class_type": "UNETLoader", "inputs": {"unet_name": file}},
        "sample": {
            "class_type": "StoryMemM2VSampler",
            "inputs": {"shot": ["open", 1], "model_high": ["unet", 0], **sampler},
        },
        "open": {"class_type": "StoryMemShotLoopOpen", "inputs": {}},
    }

    class Prompt:
        def get_node(self, node_id):
            return nodes[node_id]

        def get_display_node_id(self, node_id):
            return node_id

    plan = M2V.shot(SimpleNamespace(host=host))
    picture = host.pack("storymem.memory.picture").Picture(noise_image(1))
    step = steps.Step(replace(plan, end=picture), "own")
    read = wires.Wires(Prompt(), "open", ["sample", "unet"])
    found = ends.impossible_end(read, [step])
    assert (words in found[1]) if words else found is None
    assert ends.impossible_end(read, [steps.Step(plan, "own")]) is None
