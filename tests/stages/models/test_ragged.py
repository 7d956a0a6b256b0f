import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.models.ragged import Ragged

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any)


@given(SIZES)
def test_padding_holds_every_row_at_its_place_and_goes_back(sizes: list[int]) -> None:
    rows = torch.arange(1, sum(sizes) + 1).repeat(2, 1).T  # (rows, 2), no zero among them
    layout = Ragged(sizes, torch.device("cpu"))
    padded = layout.pad(rows)
    assert padded.shape == (len(sizes), max(sizes), 2)
    expected = iter(rows.tolist())
    for group, size in enumerate(sizes):
        assert padded[group, :size].tolist() == [next(expected) for _ in range(size)]
        assert not padded[group, size:].any()
        assert layout.mask[group].tolist() == [place < size for place in range(max(sizes))]
    assert torch.equal(layout.flatten(padded), rows)
    assert layout.place.tolist() == [place for size in sizes for place in range(size)]
