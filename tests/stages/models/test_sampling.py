import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from stages.models.blip.sampling import LIKELIEST, Sampling, draw, draw_next, warp


def settings(
    top_p: float = 1.0, top_k: int | None = None, temperature: float = 1.0, repetition_penalty: float = 1.0
) -> Sampling:
    return Sampling(top_p, top_k, temperature, repetition_penalty, max_length=20, min_length=5)


def transformers_warp(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """What `generate` applies, in its order."""
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k is not None:
        processors.append(TopKLogitsWarper(sampling.top_k))
    processors.append(TopPLogitsWarper(sampling.top_p))
    warped = processors(seen, logits.clone())
    assert isinstance(warped, Tensor)
    return warped


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 1.0),
    st.none() | st.integers(1, 60),
    st.floats(0.3, 3.0),
    st.floats(0.5, 2.0),
)
def test_warping_is_that_of_transformers(
    seed: int, top_p: float, top_k: int | None, temperature: float, penalty: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 50, generator=generator) * 3
    seen = torch.randint(50, (4, 6), generator=generator)
    sampling = settings(top_p, top_k, temperature, penalty)
    ours, theirs = warp(logits, seen, sampling), transformers_warp(logits, seen, sampling)
    # Sums of probabilities are rounded differently, so a token exactly at the nucleus's border may differ.
    probabilities = (ours.softmax(-1) - theirs.softmax(-1)).abs()
    if not torch.equal(ours.isinf(), theirs.isinf()):
        before = _mass_before(logits, seen, sampling)
        assert ((before - top_p).abs()[ours.isinf() != theirs.isinf()] < 1e-5).all()
    else:
        assert probabilities.max() < 1e-6


def _mass_before(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """Probability of all more likely tokens, for every token, before the nucleus is cut."""
    wide = Sampling(1.0, sampling.top_k, sampling.temperature, sampling.repetition_penalty, 20, 5)
    probabilities = transformers_warp(logits, seen, wide).softmax(-1).double()
    more_likely = probabilities[:, None, :] > probabilities[:, :, None]
    return (probabilities[:, None, :] * more_likely).sum(-1)


def test_the_best_token_is_kept_however_small_the_nucleus() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0]])
    assert warp(logits, torch.tensor([[0]]), settings(top_p=1e-9)).isfinite().tolist() == [[False, True, False]]


def test_of_equal_tokens_the_lower_ids_make_the_nucleus() -> None:
    kept = warp(torch.zeros(1, 8), torch.tensor([[0]]), settings(top_p=0.5)).isfinite()
    assert kept.tolist() == [[True] * 4 + [False] * 4]


def test_nothing_that_is_ruled_out_comes_back() -> None:
    logits = torch.tensor([[1.0, -torch.inf, 0.5]])
    for sampling in (settings(), settings(top_p=0.99), settings(top_k=3), settings(repetition_penalty=1.2)):
        assert warp(logits, torch.tensor([[1, 2]]), sampling)[0, 1] == -torch.inf


@pytest.mark.parametrize("top_p", [0.5, 0.9, 1.0])
def test_tokens_are_drawn_with_the_warped_probabilities_of_transformers(top_p: float) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(4)) * 2
    seen = torch.tensor([[3, 8]])
    sampling = settings(top_p, top_k=30, temperature=1.3, repetition_penalty=1.2)
    expected = transformers_warp(logits, seen, sampling).softmax(-1)[0].numpy().astype(float)
    draws = 20_000
    numbers = torch.from_numpy(np.random.default_rng(0).random(draws))
    tokens = draw(warp(logits, seen, sampling).expand(draws, -1), numbers)
    counts = np.bincount(tokens.numpy(), minlength=40)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = ((counts - draws * expected)[possible] ** 2 / (draws * expected[possible])).sum()
    freedom = possible.sum() - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)  # four standard deviations above the mean


def test_the_extreme_numbers_draw_the_first_and_the_last_possible_token() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, 2.0, -torch.inf]])
    assert draw(logits, torch.tensor([0.0], dtype=torch.float64)).item() == 1
    assert draw(logits, torch.tensor([np.nextafter(1.0, 0.0)])).item() == 4


def test_the_borders_between_tokens_are_their_cumulative_probabilities() -> None:
    logits = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64).log().expand(4, -1)
    assert draw(logits, torch.tensor([0.199999, 0.200001, 0.499999, 0.500001]).double()).tolist() == [0, 1, 1, 2]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_no_row_sees_another(seed: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 30, generator=generator)
    seen = torch.randint(30, (rows, 4), generator=generator)
    numbers = torch.rand(rows, generator=generator, dtype=torch.float64)
    sampling = settings(0.8, 20, 0.9, 1.1)
    together = draw(warp(logits, seen, sampling), numbers)
    alone = [
        draw(warp(logits[row : row + 1], seen[row : row + 1], sampling), numbers[row : row + 1]).item()
        for row in range(rows)
    ]
    assert together.tolist() == alone


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 1.0),
    st.none() | st.integers(1, 2 * LIKELIEST),
    st.floats(0.2, 6.0),
    st.floats(0.8, 1.5),
    st.booleans(),
)
def test_looking_at_the_likeliest_draws_what_sorting_everything_draws(
    seed: int, top_p: float, top_k: int | None, spread: float, penalty: float, ties: bool
) -> None:
    """Narrow and wide nuclei, and logits as coarse as those of bfloat16, where many tokens tie."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 4 * LIKELIEST, generator=generator) * spread
    logits = logits.round() if ties else logits
    seen = torch.randint(4 * LIKELIEST, (6, 4), generator=generator)
    numbers = torch.rand(6, generator=generator, dtype=torch.float64)
    sampling = settings(top_p, top_k, 0.9, penalty)
    drawn, logprob = draw_next(logits, seen, numbers, sampling, ruled_out=3)
    without = logits.clone()
    without[:, 3] = -torch.inf
    left = warp(without, seen, sampling)
    assert drawn.tolist() == draw(left, numbers).tolist()
    assert torch.allclose(logprob, logits.log_softmax(-1).gather(1, drawn[:, None])[:, 0], atol=1e-5)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "sampling", [settings(0.9), settings(1.0), settings(top_k=1), settings(0.9, 5, 0.7, 1.2), settings(1e-6)]
)
@pytest.mark.parametrize("vocabulary", [40, 4 * LIKELIEST])
def test_logits_that_are_not_finite_are_told_by_their_log_probability(
    value: float, sampling: Sampling, vocabulary: int
) -> None:
    logits = torch.randn(4, vocabulary, generator=torch.Generator().manual_seed(2))
    seen = torch.tensor([[3, 8]]).expand(4, -1)
    numbers = torch.tensor([0.1, 0.999999, 0.5, 0.3], dtype=torch.float64)
    expected, expected_logprob = draw_next(logits, seen, numbers, sampling)
    spoilt = logits.clone()
    spoilt[0], spoilt[1, 7], spoilt[1, 9] = value, value, -torch.inf
    drawn, logprob = draw_next(spoilt, seen, numbers, sampling)
    assert ((drawn >= 0) & (drawn < vocabulary)).all()
    assert not logprob[:2].isfinite().any()
    assert torch.equal(drawn[2:], expected[2:])
    assert torch.equal(logprob[2:], expected_logprob[2:])
