"""Who reads whom beside an identity frame, told by values that say which token they come from."""

from __future__ import annotations

import pytest
import torch

from storymem.sampling.split_attention import split_cross_attention, split_self_attention

IDENTITY, MEMORY, SHOT = 2, 3, 4
TOKENS = IDENTITY + MEMORY + SHOT


def mean_of_all(q, k, v):
    """Attention that reads all keys alike."""
    return v.mean(1, keepdim=True).expand(-1, q.shape[1], -1)


def marked(*lengths: int) -> torch.Tensor:
    """``[1, L, 3]``: a one in the channel of the part that a token belongs to."""
    return torch.cat([torch.eye(3)[i].expand(n, 3) for i, n in enumerate(lengths)])[None]


def self_attention(attend=mean_of_all, memory=MEMORY, identity=IDENTITY):
    v = marked(identity, memory, SHOT)
    return split_self_attention(attend, v, v, v, identity=identity, memory=memory)[0]


def test_the_shot_never_reads_the_identity_frame():
    out = self_attention()
    assert out.shape == (TOKENS, 3)
    assert out[:IDENTITY].unique(dim=0).tolist() == [pytest.approx([2 / 5, 3 / 5, 0])]
    assert out[-SHOT:].unique(dim=0).tolist() == [pytest.approx([0, 3 / 7, 4 / 7])]


def test_memory_is_the_mean_of_both_passes():
    memory = self_attention()[IDENTITY:-SHOT]
    wanted = [(2 / 5 + 0) / 2, (3 / 5 + 3 / 7) / 2, (0 + 4 / 7) / 2]
    assert memory.unique(dim=0).tolist() == [pytest.approx(wanted)]


def test_a_single_token_of_memory_is_a_mean_too():
    memory = self_attention(memory=1)[IDENTITY]
    assert memory.tolist() == pytest.approx([2 / 3 / 2, (1 / 3 + 1 / 5) / 2, 4 / 5 / 2])


def test_without_memory_both_see_only_themselves():
    out = self_attention(memory=0)
    assert out[:IDENTITY].tolist() == [[1, 0, 0]] * IDENTITY
    assert out[IDENTITY:].tolist() == [[0, 0, 1]] * SHOT


def test_without_an_identity_frame_memory_still_has_two_passes():
    memory = self_attention(identity=0)[:MEMORY]
    assert memory.unique(dim=0).tolist() == [pytest.approx([0, (1 + 3 / 7) / 2, 4 / 7 / 2])]


def test_queries_keys_and_values_stay_together():
    q, k, v = torch.randn(3, 2, TOKENS, 8, generator=torch.Generator().manual_seed(0))

    def attend(q, k, v):
        return (q @ k.transpose(1, 2)).softmax(-1) @ v

    out = split_self_attention(attend, q, k, v, identity=IDENTITY, memory=MEMORY)
    alone = attend(q[:, IDENTITY:], k[:, IDENTITY:], v[:, IDENTITY:])
    assert torch.equal(out[:, -SHOT:], alone[:, -SHOT:])
    first = IDENTITY + MEMORY
    assert torch.equal(out[:, :IDENTITY], attend(q[:, :first], k[:, :first], v[:, :first])[:, :2])


def test_queries_read_the_keys_of_their_own_text():
    q, k, v = torch.randn(3, 2, TOKENS, 8, generator=torch.Generator().manual_seed(0))

    def attend(q, k, v):
        return (q @ k.transpose(1, 2)).softmax(-1) @ v

    out = split_cross_attention(attend, q, k, v, identity=1, prompt=1)
    assert torch.equal(out[:, :1], attend(q[:, :1], k[:, 1:], v[:, 1:]))
    assert torch.equal(out[:, 1:], attend(q[:, 1:], k[:, :1], v[:, :1]))


def test_an_identity_frame_of_one_token_may_stand_alone():
    v = marked(1, 0, SHOT)
    out = split_self_attention(mean_of_all, v, v, v, identity=1, memory=0)
    assert torch.equal(out, v)


@pytest.mark.parametrize("identity", [0, TOKENS, -1])
def test_texts_for_no_identity_frame_or_for_no_shot_are_refused(identity):
    v = marked(IDENTITY, MEMORY, SHOT)
    with pytest.raises(ValueError, match=f"{identity} tokens of an identity frame and 0 of memory"):
        split_cross_attention(mean_of_all, v, v, v, identity=identity, prompt=5)


def test_each_kind_of_token_reads_its_own_text():
    q, texts = marked(IDENTITY, MEMORY, SHOT), marked(5, 0, 4)
    out = split_cross_attention(mean_of_all, q, texts, texts, identity=IDENTITY, prompt=5)[0]
    assert out[:IDENTITY].tolist() == [[0, 0, 1]] * IDENTITY
    assert out[IDENTITY:].tolist() == [[1, 0, 0]] * (MEMORY + SHOT)


@pytest.mark.parametrize(("identity", "memory"), [(0, 0), (-1, 3), (2, -1), (5, 4), (9, 0)])
def test_frames_that_leave_no_shot_are_refused(identity, memory):
    v = marked(IDENTITY, MEMORY, SHOT)
    with pytest.raises(ValueError, match=f"{identity} tokens of an identity frame and {memory}"):
        split_self_attention(mean_of_all, v, v, v, identity=identity, memory=memory)


def test_keys_of_another_length_are_refused():
    v = marked(IDENTITY, MEMORY, SHOT)
    with pytest.raises(ValueError, match="9 queries and 8 keys"):
        split_self_attention(mean_of_all, v, v[:, 1:], v[:, 1:], identity=2, memory=3)


@pytest.mark.parametrize("prompt", [0, 9, 10])
def test_a_missing_text_is_refused(prompt):
    v = marked(IDENTITY, MEMORY, SHOT)
    with pytest.raises(ValueError, match=f"9 tokens, of which {prompt} are the prompt's"):
        split_cross_attention(mean_of_all, v, v, v, identity=IDENTITY, prompt=prompt)
