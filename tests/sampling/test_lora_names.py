"""Which files a script's LoRA means."""

from __future__ import annotations

import unicodedata

import pytest

from storymem.sampling.lora_names import (
    LoraNameError,
    check_once,
    find_lora,
    near_names,
    offered_names,
)
from storymem.script.loras import Levels, ShotLora, read_loras

FILES = [
    "film_noir.safetensors",
    "rain_high_noise.safetensors",
    "rain_low_noise.safetensors",
    "styles/ink.safetensors",
    "styles\\Paper.pt",
    "a/twin.safetensors",
    "b/twin.safetensors",
    "Wan2.2_HighNoise_orbit.safetensors",
    "Wan2.2_LowNoise_orbit.safetensors",
    "zoom-H-high.safetensors",
    "zoom-H-low.safetensors",
    "pack/high_noise_model.safetensors",
    "pack/low_noise_model.safetensors",
    "lone_high_noise.safetensors",
    "low_light.safetensors",
    "both.safetensors",
    "both_high_noise.safetensors",
    "both_low_noise.safetensors",
    "same.pt",
    "same.safetensors",
]


def files_of(name: str, high: float = 1.0, low: float = 1.0) -> tuple[str, str]:
    found = find_lora(ShotLora(name, high, low), FILES)
    return found.high, found.low


@pytest.mark.parametrize(
    ("name", "high", "low"),
    [
        ("film_noir", *["film_noir.safetensors"] * 2),
        ("film_noir.safetensors", *["film_noir.safetensors"] * 2),
        ("FILM_NOIR", *["film_noir.safetensors"] * 2),
        ("rain", "rain_high_noise.safetensors", "rain_low_noise.safetensors"),
        ("ink", *["styles/ink.safetensors"] * 2),
        ("styles/ink", *["styles/ink.safetensors"] * 2),
        ("styles\\ink.safetensors", *["styles/ink.safetensors"] * 2),
        ("styles/paper", *["styles\\Paper.pt"] * 2),
        ("a/twin", *["a/twin.safetensors"] * 2),
        ("Wan2.2_orbit", FILES[7], FILES[8]),
        ("wan2.2 orbit", FILES[7], FILES[8]),
        ("zoom-H", "zoom-H-high.safetensors", "zoom-H-low.safetensors"),
        ("pack/model", FILES[11], FILES[12]),
        ("low_light", *["low_light.safetensors"] * 2),  # which says nothing of an expert
        ("both", *["both.safetensors"] * 2),  # one file of the name counts before a pair
        ("rain_high_noise", "rain_high_noise.safetensors", ""),
        ("same.pt", "same.pt", "same.pt"),
    ],
)
def test_names_that_mean_one_lora(name, high, low):
    assert files_of(name) == (high, low)


def test_an_expert_without_strength_gets_no_file():
    assert files_of("rain", high=0.5, low=0) == ("rain_high_noise.safetensors", "")
    assert files_of("film_noir", high=0, low=0.5) == ("", "film_noir.safetensors")


def test_half_a_pair_is_applied_and_told():
    found = find_lora(ShotLora("lone"), FILES)
    assert (found.high, found.low) == ("lone_high_noise.safetensors", "")
    assert "the low-noise expert gets nothing" in found.note


def test_a_file_for_the_other_expert_is_told():
    found = find_lora(ShotLora("rain_high_noise", 0, 1), FILES)
    assert found.low == "rain_high_noise.safetensors"
    assert "by its name for the high-noise expert" in found.note


@pytest.mark.parametrize("name", ["twin", "same", "TWIN"])
def test_a_name_of_several_files_is_refused(name):
    with pytest.raises(LoraNameError, match="may be any of"):
        files_of(name)


@pytest.mark.parametrize(
    "name", ["film_nor", "noir/film_noir", "../film_noir", "/film_noir", "low_light_", "light"]
)
def test_a_name_of_no_file_is_refused(name):
    with pytest.raises(LoraNameError, match="there is no LoRA"):
        files_of(name)


def test_one_file_under_two_names_is_refused():
    def check(*entries):
        check_once({entry: find_lora(entry, FILES) for entry in entries})

    check(ShotLora("ink"), ShotLora("rain"), ShotLora("film_noir"))
    check(ShotLora("ink", 1, 0), ShotLora("styles/ink", 0, 1))  # each on its expert
    with pytest.raises(LoraNameError, match="'ink' and 'styles/ink' are one file"):
        check(ShotLora("ink"), ShotLora("styles/ink"))
    with pytest.raises(LoraNameError, match="'rain' and 'rain_high_noise' are one file"):
        check(ShotLora("rain"), ShotLora("rain_high_noise"))


def test_near_names_are_told():
    assert near_names("film_nor", FILES)[0] == "film_noir"
    assert near_names("styles/ink2", FILES)[0] == "styles/ink"
    with pytest.raises(LoraNameError, match="near it are rain"):
        files_of("rainy")
    assert near_names("x", []) == []


def test_pairs_are_offered_once():
    names = offered_names(FILES)
    assert {"rain", "Wan2.2_orbit", "zoom-H", "styles/ink", "styles/Paper"} <= set(names)
    assert "lone_high_noise" in names
    assert "rain_high_noise" not in names
    assert {"same.pt", "same.safetensors"} <= set(names)


@pytest.mark.parametrize("name", offered_names(FILES))
def test_every_name_that_is_offered_means_something(name):
    assert any(files_of(name))


@pytest.mark.parametrize("form", ["NFC", "NFD"])  # of keyboards, and of a Mac's files
def test_an_accent_is_the_same_however_it_is_encoded(form):
    files = [unicodedata.normalize("NFD", name) for name in ("dé/été.safetensors",
             "lumière_high_noise.safetensors", "lumière_low_noise.safetensors")]  # fmt: skip
    for name in ("été", "dé/Été", "lumière"):
        assert find_lora(ShotLora(unicodedata.normalize(form, name)), files).high
    taken_away = ShotLora(unicodedata.normalize(form, "été"), 0, 0).as_json()
    assert read_loras(Levels([unicodedata.normalize("NFD", "été"), taken_away])) == ()
