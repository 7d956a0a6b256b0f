"""What is asked of a scorer, with one that can be checked in the head: the score is the length of the text."""

from collections.abc import Callable, Sequence

import pytest
import torch
from PIL import Image
from torch import Tensor

from stages.models.scoring import score_captions


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


def scored(make_shard: Callable, scorer: Lengths, batch_size: int = 2, **inputs: object) -> list[float | None]:
    shard = make_shard(**{"images": {**IMAGES, "dead": None}, "captions": CAPTIONS} | inputs)
    return score_captions(scorer, shard.inputs["download"], shard.inputs["caption"].table(), batch_size)


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
