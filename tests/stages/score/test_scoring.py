"""What is asked of a scorer, with one that can be checked in the head: the score is the length of the text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from committed import only, write
from PIL import Image
from torch import Tensor

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.finite import NumberFormat, unit
from stages.score.scoring import Scores, score_candidates, score_shard
from stages.tables import DUPLICATES, MATCHES


class Lengths:
    """Scores a text by its length plus the image's width times 1000, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[list[str]]]] = []

    def preprocess(self, image: Image.Image) -> Tensor:
        return torch.tensor([float(image.width)])

    def prepare(self, text: str) -> str:
        return text.strip().lower()

    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        self.asked.append((len(pixels), [list(of_image) for of_image in texts]))
        return [
            [len(text) + 1000 * width.item() for text in of_image]
            for width, of_image in zip(pixels, texts, strict=True)
        ]


IMAGES = {"a": Image.new("RGB", (1, 1)), "b": Image.new("RGB", (2, 1)), "c": Image.new("RGB", (3, 1))}
CAPTIONS = [("b", "dog"), ("b", "Dog "), ("b", ""), ("a", "dog"), ("a", "the dog"), ("c", " "), ("b", "a")]


NUMBERS = NumberFormat("filter", "float16")


def scores_of(make_shard: Callable, scorer: Lengths, batch_size: int = 2, **inputs: object) -> Scores:
    shard = make_shard(**{"images": {**IMAGES, "dead": None}, "captions": CAPTIONS} | inputs)
    return score_candidates(scorer, shard.one("images"), shard.one("captions").table(), batch_size, NUMBERS)


def scored(make_shard: Callable, scorer: Lengths, batch_size: int = 2, **inputs: object) -> list[float | None]:
    found = scores_of(make_shard, scorer, batch_size, **inputs)
    assert found.errors == [None] * len(found.values)
    return found.values


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("tar_order", ["abc", "cab"])
def test_scores_come_in_the_caption_tables_order(make_shard: Callable, batch_size: int, tar_order: str) -> None:
    scores = scored(make_shard, Lengths(), batch_size, tar_order=[*tar_order, "dead"])
    assert scores == [2003, 2003, None, 1003, 1007, None, 2001]


def test_equal_texts_of_an_image_and_empty_ones_are_not_asked_twice(make_shard: Callable) -> None:
    scorer = Lengths()
    scored(make_shard, scorer)
    assert scorer.asked == [(2, [["dog", "the dog"], ["dog", "a"]]), (1, [[]])]


def test_an_image_without_captions(make_shard: Callable) -> None:
    with pytest.raises(ValueError, match="image c was downloaded but has no row in the caption table"):
        scored(make_shard, Lengths(), captions=CAPTIONS[:5])


def test_captions_without_an_image(make_shard: Callable) -> None:
    with pytest.raises(ValueError, match=r"captions of 1 image\(s\) that were not downloaded, dead first"):
        scored(make_shard, Lengths(), captions=[*CAPTIONS, ("dead", "dog")])


def test_an_empty_shard(make_shard: Callable) -> None:
    assert scored(make_shard, Lengths(), images={"dead": None}, captions=[]) == []


def test_an_image_that_cannot_be_looked_at_costs_its_own_rows(make_shard: Callable) -> None:
    found = scores_of(make_shard, Lengths(), images={**IMAGES, "b": b"no picture"}, captions=CAPTIONS)
    assert found.values == [None, None, None, 1003, 1007, None, None]
    broken = [row for row, (key, _) in enumerate(CAPTIONS) if key == "b"]
    assert [row for row, error in enumerate(found.errors) if error] == broken
    assert {found.errors[row] for row in broken} == {found.errors[0]}
    assert str(found.errors[0]).startswith("cannot be decoded: ")


class Doubtful(Lengths):
    """As `Lengths`, but not finite for the texts named."""

    def __init__(self, infinite: dict[str, float]) -> None:
        super().__init__()
        self._infinite = infinite

    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        said = zip(texts, super().score(pixels, texts), strict=True)
        return [[self._infinite.get(text, value) for text, value in zip(*pair, strict=True)] for pair in said]


def many(number: int) -> list[tuple[str, str]]:
    """Captions of image a, two of them empty."""
    return [("a", f"text {row}") for row in range(number)] + [("a", ""), ("a", " "), ("b", ""), ("c", "")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_costs_its_own_row(make_shard: Callable, value: float) -> None:
    found = scores_of(make_shard, Doubtful({"text 7": value}), captions=many(100))
    assert [row for row, error in enumerate(found.errors) if error] == [7]
    assert found.errors[7] == "not finite in float16"
    assert [row for row, score in enumerate(found.values[:100]) if score is None] == [7]


def test_more_than_one_in_a_hundred_fail_the_shard(make_shard: Callable) -> None:
    scorer = Doubtful({"text 7": math.nan, "text 8": math.inf, "text 9": -math.inf, "text 10": math.nan})
    assert scores_of(make_shard, scorer, captions=many(400)).errors.count(None) == 400
    with pytest.raises(UserError) as caught:  # 4 of 399 texts; the empty ones do not count
        scores_of(make_shard, scorer, captions=many(399))
    assert str(caught.value) == (
        "filter: 4 of 399 scores are not finite in float16; set filter.dtype to bfloat16 or float32"
    )


@pytest.mark.parametrize(("bad", "total"), [(1, 1), (1, 2), (1, 50), (3, 55), (2, 5), (3, 6), (0, 0)])
def test_a_few_fail_no_shard_however_small(bad: int, total: int) -> None:
    NUMBERS.check(bad, total, "scores")


@pytest.mark.parametrize(("bad", "total"), [(2, 2), (2, 3), (3, 5), (4, 50), (9, 9)])
def test_most_of_a_small_shard_fail_it(bad: int, total: int) -> None:
    with pytest.raises(UserError, match=f"{bad} of {total} scores"):
        NUMBERS.check(bad, total, "scores")


def test_the_table_of_a_shard(make_shard: Callable) -> None:
    shard = make_shard(images={**IMAGES, "b": b"", "d": IMAGES["a"]}, captions=[*many(100), ("d", "")])
    output = score_shard(Doubtful({"text 7": math.nan}), shard, 2, NUMBERS, MATCHES)
    assert output.table.schema == MATCHES
    assert output.counts == {"scored": 99, "empty": 4, "failed": 2}
    failed = [row for row in output.table.to_pylist() if row["error"]]
    assert [(row["key"], row["itm_score"], row["error"][:10]) for row in failed] == [
        ("a", None, "not finite"),
        ("b", None, "cannot be "),
    ]


def test_copies_are_not_looked_at_unless_they_have_captions(make_shard: Callable, tmp_path: Path) -> None:
    copies = [{"key": key, "shard": "web-0-0", "original": "o", "rule": "url"} for key in "ab"]
    verdicts = only({"duplicates": write(tmp_path / "duplicates.parquet", copies, DUPLICATES)})
    shard = make_shard(images={**IMAGES, "b": b"no picture"}, captions=[("a", "dog"), ("c", "a dog")])
    scorer = Lengths()
    output = score_shard(scorer, replace(shard, inputs={**shard.inputs, **verdicts}), 2, NUMBERS, MATCHES)
    assert scorer.asked == [(2, [["dog"], ["a dog"]])]
    assert output.counts == {"scored": 2, "empty": 0, "failed": 0}


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        ("float16", "set rank.dtype to bfloat16 or float32"),
        ("bfloat16", "set rank.dtype to float32"),
        ("float32", "the weights of rank.model may be damaged: load them anew, or name another model"),
    ],
)
def test_the_advice_is_for_the_format(dtype: Dtype, advice: str) -> None:
    with pytest.raises(UserError, match=f"^rank: 37 of 40 scores are not finite in {dtype}; {advice}$"):
        NumberFormat("rank", dtype).check(37, 40, "scores")
    NumberFormat("rank", dtype).check(0, 0, "scores")


def test_rows_that_must_all_be_finite() -> None:
    rows = torch.ones(5, 2, 3)
    NUMBERS.check_all(rows, "rows")
    rows[1, 0, 2], rows[3, 1, 0] = math.inf, math.nan
    with pytest.raises(UserError, match="2 of 5 rows"):
        NUMBERS.check_all(rows, "rows")
    with pytest.raises(UserError, match="1 of 3 numbers"):
        NUMBERS.check_all(torch.tensor([1.0, math.nan, 2.0]), "numbers")


def test_a_vector_without_a_direction_has_no_cosine() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e30, 1e30], [math.inf, 1.0], [math.nan, 1.0], [-0.0, 1e-6]])
    found = unit(vectors)
    assert found[0].tolist() == pytest.approx([0.6, 0.8])
    assert found[5].tolist() == [0, 1]
    assert found[1:5].isnan().all()
    assert torch.equal(found[[0, 5]], torch.nn.functional.normalize(vectors[[0, 5]], dim=-1))
