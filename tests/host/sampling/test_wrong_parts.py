"""What does not belong to Wan is refused on the sampler, before anything is sampled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch


def model(width=4096):
    embedding = [torch.nn.Linear(width, 8)]
    inner = SimpleNamespace(text_embedding=embedding)
    return SimpleNamespace(get_model_object=lambda name: inner)


@pytest.mark.parametrize(
    ("channels", "axes", "told"),
    [(4, 2, "for pictures with 4"), (16, 2, "for pictures with 16"), (48, 3, "for video with 48")],
)
def test_a_vae_of_another_model_is_refused(host, channels, axes, told):
    require_vae = host.pack("nodes.host.wan_models").require_vae
    with pytest.raises(ValueError, match=told):
        require_vae(SimpleNamespace(latent_channels=channels, latent_dim=axes))


def test_a_vae_that_says_nothing_of_its_latents_is_taken(host):
    require_vae = host.pack("nodes.host.wan_models").require_vae
    require_vae(SimpleNamespace())
    require_vae(SimpleNamespace(latent_channels=16, latent_dim=3))


def test_a_text_encoder_of_another_model_is_refused(host):
    require_text = host.pack("nodes.host.wan_models").require_text
    require_text([[torch.zeros(1, 7, 4096), {}]], model(), "positive")
    with pytest.raises(ValueError, match="768 numbers instead of 4096"):
        require_text([[torch.zeros(1, 77, 768), {}]], model(), "negative")


def test_a_packed_weight_does_not_say_how_wide_texts_are(host):
    """Some quantisations keep two numbers in one, in a weight of another shape."""
    require_text = host.pack("nodes.host.wan_models").require_text
    packed = model()
    (embedding,) = packed.get_model_object("diffusion_model").text_embedding
    embedding.weight = torch.nn.Parameter(embedding.weight.reshape(-1, 1))
    require_text([[torch.zeros(1, 7, 4096), {}]], packed, "positive")


def test_a_model_that_says_nothing_of_its_texts_takes_them_all(host):
    require_text = host.pack("nodes.host.wan_models").require_text
    silent = SimpleNamespace(get_model_object=lambda name: SimpleNamespace())
    require_text([[torch.zeros(1, 77, 768), {}]], silent, "positive")
