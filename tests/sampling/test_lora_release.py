"""Which file a name of the released LoRA means."""

from __future__ import annotations

import pytest

from storymem.sampling.lora_release import Released, find_released, released

MI2V = "Wan2.2-MI2V-A14B/backbone_high_noise.safetensors"
MM2V = "Wan2.2-MM2V-A14B/backbone_high_noise.safetensors"
SHIPPED = "storymem_mi2v_high_noise.safetensors"
MEMENTO = "Memento/backbone_high_noise.pth"
SHIPPED_MEMENTO = "memento_high_noise.safetensors"
BARE = "backbone_high_noise.safetensors"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (MI2V, Released("mi2v", "high")),
        (f"StoryMem/{MM2V}", Released("mm2v", "high")),
        ("video\\Wan2.2-MI2V-A14B\\backbone_low_noise.pth", Released("mi2v", "low")),
        (f"wan/{SHIPPED}", Released("mi2v", "high")),
        (BARE, Released("", "high")),
        (f"StoryMem/{BARE}", Released("", "high")),
        (MEMENTO, Released("memento", "high")),
        (
            "ernie-research\\Memento\\checkpoints\\backbone_low_noise.pth",
            Released("memento", "low"),
        ),
        (f"Memento/{MM2V}", Released("mm2v", "high")),  # the name next to the file says more
        (f"wan/{SHIPPED_MEMENTO}", Released("memento", "high")),
        ("memento_backbone_low_noise.pth", Released("memento", "low")),
        ("moment_of_memento_high_noise.safetensors", None),
        (f"mine/{BARE}", None),  # what training leaves has the same name
        ("storymem_mi2v_mm2v_high_noise.safetensors", None),
        ("backbone_high_noise.safetensors.part", None),
        ("none", None),
    ],
)
def test_what_a_name_tells(name, what):
    assert released(name) == what


@pytest.mark.parametrize(
    ("asked", "names", "found"),
    [
        (SHIPPED, [SHIPPED, MI2V], SHIPPED),  # the file itself, where it is
        (SHIPPED, [MM2V, MI2V], MI2V),
        (SHIPPED, [f"StoryMem/{MI2V}"], f"StoryMem/{MI2V}"),
        (SHIPPED, [MI2V.replace("safetensors", "pth"), f"a/{MI2V}"], f"a/{MI2V}"),
        (MI2V, [SHIPPED], SHIPPED),
        (MI2V, [MI2V.replace("/", "\\")], MI2V.replace("/", "\\")),  # a workflow from elsewhere
        (SHIPPED, [BARE], BARE),  # as a browser saves it
        (MM2V, [BARE, MI2V], BARE),
        (SHIPPED, [MM2V, BARE.replace("high", "low")], None),
        (SHIPPED, [f"mine/{BARE}"], None),
        (BARE, [MM2V], MM2V),
        (BARE, [MM2V, MI2V], None),  # no telling which
        (BARE, [MM2V, MEMENTO], MM2V),  # as before there was another method
        (BARE, [MEMENTO], None),
        (SHIPPED_MEMENTO, [MI2V, MEMENTO], MEMENTO),
        (MEMENTO, [MI2V, SHIPPED_MEMENTO], SHIPPED_MEMENTO),
        (SHIPPED, [MEMENTO], None),
        (MEMENTO, [MI2V], None),
        (MEMENTO, [BARE, MI2V], BARE),
        ("other.safetensors", [MI2V, BARE], None),
        ("sub/other.safetensors", ["sub\\other.safetensors"], "sub\\other.safetensors"),
    ],
)
def test_which_file_is_meant(asked, names, found):
    assert find_released(asked, names) == found
    assert find_released(asked, names[::-1]) == found
