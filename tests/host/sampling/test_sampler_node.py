"""What M2V Sampler hands to each of its steps, in which order, and what it is told of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helpers.bare_wan import I2V, T2V, bare_wan, prompt

SHOT = {
    "width": 48, "height": 32, "length": 9, "size_rule": "memory_aspect", "seed": 5,
}  # fmt: skip
SETTINGS = {
    "steps": 3, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple", "cfg_low": 1.5,
    "shift": 6.0, "boundary": 0.7, "denoise": 0.5, "rope_shift": 2,
}  # fmt: skip
RECIPE = {**{k: v for k, v in SETTINGS.items() if k != "sampler_name"}, "sampler": "euler"}


class Node:
    """M2V Sampler with its steps noted; ``run`` gives what each was handed."""

    def __init__(self, module, monkeypatch, i2v, t2v):
        self.module, self.models = module, {"model_high": i2v, "model_low": i2v.clone()}
        self.t2v = {"t2v_high": t2v, "t2v_low": t2v.clone()}
        self.is_from_text, self.seen, self.order, self.portrait = False, {}, [], None

        def note(name, result):
            def step(*arguments, **named):
                self.order.append(name)
                self.seen[name] = (arguments, named)
                return result(arguments)

            monkeypatch.setattr(module, name, step)

        request = SimpleNamespace(name="request", is_cut=False)
        note("check_models", lambda _: None)
        note("require_vae", lambda _: None)
        note("tell_node", lambda _: None)
        note("request_from_inputs", lambda _: self.requested(request))
        note("shot_layouts", lambda _: "layouts")
        note("see_memory", lambda _: "seen")
        note("shot_sigmas", lambda _: "sigmas")
        note("sample_shot", lambda _: ("samples", self.portrait))

    def requested(self, request):
        request.is_from_text = self.is_from_text
        self.request = request
        return request

    def run(self, node=None, **inputs):
        self.order.clear()
        self.positive, self.negative = prompt(), prompt()
        given = {
            **self.models, "positive": self.positive, "negative": self.negative, "vae": "vae",
            **SHOT, **inputs,
        }  # fmt: skip
        return (node or self.module.M2VSampler).execute(**given).result[0]


@pytest.fixture
def node(host, monkeypatch):
    module = host.pack("nodes.sampling.sampler")
    return Node(module, monkeypatch, bare_wan(I2V), bare_wan(T2V))


def test_the_node_hands_on_all_that_it_is_given(node):
    more = {
        "bank": "bank", "shot": SimpleNamespace(draft=None), "previous_frames": "frames",
        "start_image": "image", "continuity": "cut", "end_image": "last",
    }  # fmt: skip
    assert node.run(**SETTINGS, **more, **node.t2v) == {"samples": "samples"}
    assert node.order == [
        "check_models", "tell_node", "require_vae", "request_from_inputs", "shot_sigmas",
        "shot_layouts", "see_memory", "sample_shot",
    ], "all is looked at before anything is encoded"  # fmt: skip
    assert node.seen["request_from_inputs"] == ((), {**SHOT, **more, "method": "storymem"})
    high, low = node.models.values()
    assert node.seen["check_models"] == ((high, low, *node.t2v.values()), {})
    assert node.seen["require_vae"] == (("vae",), {})
    recipe = node.module.Recipe(**RECIPE)
    assert node.seen["shot_sigmas"] == ((high, recipe), {})
    placed = {"rope_shift": RECIPE["rope_shift"], "has_identity": False}
    assert node.seen["shot_layouts"] == ((node.request, "storymem", more["shot"]), placed)
    asked = (node.positive, node.negative, "vae", node.request, "layouts", None)
    assert node.seen["see_memory"] == (asked, {})
    sampled = ((high, low), "seen", node.request, "sigmas", recipe)
    assert node.seen["sample_shot"] == (sampled, {})


def test_what_is_not_connected_or_typed_is_the_released_recipe(node):
    node.models.pop("model_low")
    node.run(steps=40, cfg=3.5, sampler_name="storymem_unipc", scheduler="storymem")
    nothing = dict.fromkeys(("bank", "shot", "previous_frames", "start_image", "end_image"))
    asked = {**SHOT, **nothing, "continuity": "auto", "method": "storymem"}
    assert node.seen["request_from_inputs"] == ((), asked)
    assert node.seen["check_models"] == ((node.models["model_high"], None, None, None), {})
    ((models, *_, recipe), _) = node.seen["sample_shot"]
    assert models == (node.models["model_high"], None)
    assert recipe == node.module.Recipe()


@pytest.mark.parametrize(("is_from_text", "has_pair"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_a_shot_from_text_is_the_t2v_pairs_where_there_is_one(node, caplog, is_from_text, has_pair):
    node.is_from_text = bool(is_from_text)
    changed = SETTINGS | {"shift": 4.0, "boundary": 0.9}
    with caplog.at_level("INFO"):
        node.run(**changed, **(node.t2v if has_pair else {}))
    own = node.module.Recipe(**RECIPE | {"shift": 4.0, "boundary": 0.9})
    ((models, *rest), _) = node.seen["sample_shot"]
    if is_from_text and has_pair:
        assert models == tuple(node.t2v.values())
        text = node.module.Recipe(**RECIPE | {"shift": 12.0, "boundary": 0.875})
        (one, other), *rest = rest
        assert one is other
        assert (one.positive, one.negative, one.layout.frames) == (node.positive, node.negative, 0)
        assert rest == [node.request, "sigmas", text]
        assert node.seen["shot_sigmas"] == ((node.t2v["t2v_high"], text), {})
        assert "see_memory" not in node.order
        assert caplog.text.count("made from text by the T2V pair with shift 12") == 1
    else:
        assert models == tuple(node.models.values())
        assert rest == ["seen", node.request, "sigmas", own]
        assert node.seen["shot_sigmas"] == ((node.models["model_high"], own), {})
        assert "T2V pair" not in caplog.text


def test_settings_of_the_artist_that_hold_for_both_pairs_are_not_told(node, caplog):
    node.is_from_text = True
    with caplog.at_level("INFO"):
        node.run(**SETTINGS, **node.t2v)
    assert node.seen["sample_shot"][0][-1] == node.module.Recipe(**RECIPE)
    assert "T2V pair" not in caplog.text


@pytest.mark.parametrize("pair", [("euler", "simple"), ("euler", "storymem")])
def test_the_node_is_told_of_half_a_pair_by_its_own_name(node, pair):
    class Running(node.module.M2VSampler):
        hidden = "who I am"

    named = dict(zip(("sampler_name", "scheduler"), pair, strict=True))
    node.run(Running, **SETTINGS | named)
    ((hidden, text), _) = node.seen["tell_node"]
    assert hidden == "who I am"
    words = f"sampler_name {pair[0]} is not its sampler" if pair[1] == "storymem" else ""
    assert words in text
    assert bool(words) == bool(text)
    assert isinstance(text, str)


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_a_prompt_of_another_text_encoder_is_told_by_its_name(node, name):
    with pytest.raises(ValueError, match=f"^{name} was encoded by .* 768 numbers"):
        node.run(**SETTINGS, **{name: prompt(768)})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"width": 50}, "width"), ({"height": 50}, "height"), ({"length": 50}, "length")],
)
def test_each_typed_size_is_looked_at_before_anything_runs(host, wrong, words):
    node = host.pack("nodes.sampling.sampler").M2VSampler
    assert node.validate_inputs(width=48, height=32, length=9) is True
    assert node.validate_inputs() is True
    assert node.validate_inputs(**wrong).startswith(f"{words} must be")


def test_the_host_tells_the_node_who_it_is(host):
    """Without it nothing could be told on the node itself."""
    from comfy_api.latest import io

    hidden = host.pack("nodes.sampling.sampler").M2VSampler.define_schema().hidden
    assert hidden == [io.Hidden.unique_id, io.Hidden.dynprompt, io.Hidden.extra_pnginfo]
