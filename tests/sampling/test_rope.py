"""Temporal positions with memory."""

from __future__ import annotations

import functools

import pytest
import torch

from storymem.sampling.memory_layout import storymem_layout
from storymem.sampling.rope import (
    check_reach,
    encode_at,
    original_encode,
    temporal_positions,
)


def test_memory_lies_before_the_shot_with_gaps_of_five():
    positions = temporal_positions(3, 4)
    assert positions.tolist() == [-15, -10, -5, 0, 1, 2, 3]
    assert positions.dtype == torch.float32


def test_an_offset_of_one_is_plain_contiguous_time():
    assert temporal_positions(2, 3, offset=1).tolist() == [-2, -1, 0, 1, 2]


def test_no_memory_leaves_the_shot_alone():
    assert temporal_positions(0, 3).tolist() == [0, 1, 2]


def test_an_offset_of_zero_puts_memory_on_the_first_frame():
    assert temporal_positions(2, 2, offset=0).tolist() == [0, 0, 0, 1]


def test_large_positions_stay_whole_numbers():
    positions = temporal_positions(100, 100, offset=5)
    assert positions[0] == -500
    assert torch.equal(positions, positions.round())
    assert not torch.equal(positions, positions.bfloat16().float())  # why it is float32


@pytest.mark.parametrize("arguments", [(-1, 3, 5), (1, 0, 5), (1, 3, -5), (1, 3, 0.5)])
def test_impossible_counts_are_refused(arguments):
    memory, shot, offset = arguments
    with pytest.raises(ValueError, match=r"must be|needs at least"):
        temporal_positions(memory, shot, offset=offset)


def test_the_shortest_shot_is_one_latent_frame():
    assert temporal_positions(1, 1).tolist() == [-5, 0]
    with pytest.raises(ValueError, match="shot_frames is 0"):
        temporal_positions(1, 0)


@pytest.mark.parametrize(
    ("memory", "offset", "message"),
    [(-1, 5, "^memory_frames must be .* but it is -1"), (1, -1, "^rope_shift must be .* it is -1")],
)
def test_the_number_that_cannot_be_is_named(memory, offset, message):
    with pytest.raises(ValueError, match=message):
        temporal_positions(memory, 3, offset=offset)


def test_the_end_of_a_models_table_is_told_before_it_is_reached():
    check_reach(10, 5, 51, 51)  # position 50 is the last of 51
    with pytest.raises(ValueError, match=r"10 memory frames 5 apart reach position 50, .* at 49"):
        check_reach(10, 5, 21, 50)
    with pytest.raises(ValueError, match=r"52 latent frames of a shot reach position 51, .* at 50"):
        check_reach(10, 5, 52, 51)


class HostGrid:
    """Tokens ``[1, T * H * W, 3]`` of their positions, laid out as Wan's ``rope_encode`` does."""

    def __init__(self):
        self.calls: list[dict] = []

    def __call__(self, t, h, w, t_start=0, steps_t=None, **kwargs):
        self.calls.append(
            {"t": t, "h": h, "w": w, "t_start": t_start, "steps_t": steps_t, **kwargs}
        )
        options = (kwargs.get("transformer_options") or {}).get("rope_options") or {}
        end = (t - 1) * options.get("scale_t", 1.0)
        start = t_start + options.get("shift_t", 0.0)
        times = torch.linspace(start, start + end, t if steps_t is None else steps_t)
        grid = torch.meshgrid(times, torch.arange(h * 1.0), torch.arange(w * 1.0), indexing="ij")
        return torch.stack(grid, dim=-1).reshape(1, -1, 3).to(kwargs.get("dtype"))


@pytest.mark.parametrize(("memory", "offset"), [(1, 5), (3, 5), (10, 5), (4, 1), (3, 0)])
@pytest.mark.parametrize("scaling", [None, {}, {"scale_t": 0.5}, {"scale_t": 2.0, "shift_t": 7.0}])
def test_a_patched_model_sees_the_positions_of_the_paper(memory, offset, scaling):
    """Scaled and moved as a whole by who scales and moves positions."""
    encode = encode_at(HostGrid(), storymem_layout(memory, offset).positions)
    given = {} if scaling is None else {"transformer_options": {"rope_options": scaling}}
    tokens = encode(memory + 4, 2, 3, dtype=torch.bfloat16, **given).reshape(memory + 4, 2, 3, 3)
    scaling = scaling or {}
    times = temporal_positions(memory, 4, offset=offset) * scaling.get("scale_t", 1.0)
    times += scaling.get("shift_t", 0.0)
    assert tokens.dtype == torch.float32, "whatever the model computes in"
    assert torch.allclose(tokens[:, 0, 0, 0], times, rtol=0, atol=1e-5)
    assert torch.equal(tokens[..., 0], tokens[:, :1, :1, 0].expand(-1, 2, 3))
    assert tokens[0, :, :, 1:].tolist() == [[[y, x] for x in range(3)] for y in range(2)]
    assert torch.equal(tokens[..., 1:], tokens[:1, ..., 1:].expand(memory + 4, -1, -1, -1))


def test_what_else_the_model_is_given_reaches_both_parts():
    grid = HostGrid()
    encode_at(grid, storymem_layout(2, 5).positions)(
        6, 2, 2, device="cpu", transformer_options=None
    )
    first, second = grid.calls
    assert (first["device"], second["device"]) == ("cpu", "cpu")
    assert (first["t"], first["t_start"], first["steps_t"]) == (6, -10, 2)
    assert (second["t"], second["t_start"], second["steps_t"]) == (4, 0, None)


@pytest.mark.parametrize(
    "asked", [{"t_start": 30}, {"steps_t": 3}, {"source_id": 1}, {"t_start": 2, "steps_t": 0}]
)
def test_a_part_of_another_kind_keeps_its_own_positions(asked):
    """Reference pictures and parts of a grid that others ask for are no shot."""
    patched, plain = HostGrid(), HostGrid()
    tokens = encode_at(patched, storymem_layout(2, 5).positions)(6, 2, 2, **asked)
    assert torch.equal(tokens, plain(6, 2, 2, **asked))
    assert patched.calls == plain.calls


def test_without_memory_the_model_is_asked_as_ever():
    grid = HostGrid()
    tokens = encode_at(grid, storymem_layout(0, 5).positions)(6, 2, 2, dtype=torch.bfloat16)
    assert tokens.dtype == torch.bfloat16
    assert [(call["t"], call["t_start"], call["steps_t"]) for call in grid.calls] == [(6, 0, None)]


@pytest.mark.parametrize("frames", [1, 3])
def test_a_latent_without_a_frame_beside_the_memory_is_refused(frames):
    encode = encode_at(HostGrid(), storymem_layout(3, 5).positions)
    with pytest.raises(ValueError, match=f"the latent has {frames} frames, .* expects 3 memory"):
        encode(frames, 2, 2)
    assert encode(4, 2, 2).shape == (1, 16, 3)


def test_what_was_patched_is_found_again_but_not_below_another_patch():
    grid = HostGrid()
    encode = encode_at(grid, storymem_layout(3, 5).positions)
    assert original_encode(encode) is grid
    assert original_encode(grid) is None

    @functools.wraps(encode)
    def other(*args, **kwargs):
        return encode(*args, **kwargs)

    assert original_encode(other) is None
