import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.models.randomness import uniform_grid, uniforms


@given(st.integers(), st.text(), st.integers(1, 1000), st.integers(1, 30))
def test_a_stream_is_reproducible_and_longer_ones_only_continue_it(
    seed: int, key: str, candidate: int, steps: int
) -> None:
    numbers = uniforms(seed, key, candidate, steps)
    assert numbers.shape == (steps,)
    assert np.array_equal(numbers, uniforms(seed, key, candidate, steps + 5)[:steps])
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_seed_key_and_candidate_each_give_another_stream() -> None:
    streams = [uniforms(0, "a", 1, 4), uniforms(1, "a", 1, 4), uniforms(0, "b", 1, 4), uniforms(0, "a", 2, 4)]
    assert len({tuple(stream) for stream in streams}) == len(streams)


def test_the_streams_stay_what_they_are() -> None:
    """A change here changes every caption of every run: raise the caption stage's version with it."""
    assert uniforms(0, "laion-0-0-0", 1, 3).tolist() == [0.5066587279507669, 0.42609969783521573, 0.7690255583162845]


def test_numbers_are_uniform_over_candidates() -> None:
    first = np.array([uniforms(0, f"k{key}", candidate, 1)[0] for key in range(200) for candidate in range(1, 11)])
    counts = np.histogram(first, bins=20, range=(0, 1))[0]
    assert ((counts - 100) ** 2 / 100).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001


def test_the_grid_is_made_of_the_streams() -> None:
    grid = uniform_grid(5, ["x", "y"], 3, 7)
    assert grid.shape == (2, 3, 7)
    assert np.array_equal(grid[1, 2], uniforms(5, "y", 3, 7))
