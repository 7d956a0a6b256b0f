import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from PIL import Image
from torch import Tensor

from stages.models.background import in_background
from stages.models.feed import batches


def mean_colour(image: Image.Image) -> Tensor:
    assert image.mode == "RGB"
    return torch.tensor([float(image.resize((1, 1)).getpixel((0, 0))[band]) for band in range(3)])  # type: ignore[index]


def test_every_image_comes_once_in_the_tars_order(make_shard: Callable, pictures: dict[str, Image.Image]) -> None:
    order = sorted(pictures, reverse=True)
    shard = make_shard({**pictures, "dead": None}, tar_order=[*order, "dead"])
    found = list(batches(shard.inputs["download"], mean_colour, batch_size=3))
    assert [keys for keys, _ in found] == [order[:3], order[3:6], order[6:]]
    for keys, pixels in found:
        assert torch.equal(pixels, torch.stack([mean_colour(pictures[key]) for key in keys]))


def test_a_shard_without_images_gives_no_batch(make_shard: Callable) -> None:
    assert list(batches(make_shard({"dead": None}).inputs["download"], mean_colour, batch_size=3)) == []


def test_images_of_any_mode_come_as_rgb(make_shard: Callable, pictures: dict[str, Image.Image]) -> None:
    picture = next(iter(pictures.values()))
    modes = {mode: picture.convert(mode) for mode in ("L", "RGBA", "P", "LA", "1")}
    (_, pixels), *_ = batches(make_shard(modes).inputs["download"], mean_colour, batch_size=8)
    assert pixels.shape == (len(modes), 3)


def test_an_image_that_cannot_be_decoded_is_named(make_shard: Callable, pictures: dict[str, Image.Image]) -> None:
    shard = make_shard({**pictures, "broken": b"no picture"})
    with pytest.raises(ValueError, match="image broken is listed as downloaded but cannot be decoded"):
        list(batches(shard.inputs["download"], mean_colour, batch_size=2))


def test_work_runs_ahead_no_further_than_it_may() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    reader = in_background(numbers(), depth=2)
    assert next(reader) == 0
    time.sleep(0.3)
    assert len(made) == 4  # one was read, two wait, one waits for its place
    assert list(reader) == list(range(1, 20))


def test_a_reader_that_stops_early_stops_the_thread() -> None:
    before = threading.active_count()
    reader = in_background(iter(range(100)), depth=1)
    next(reader)
    reader.close()
    assert threading.active_count() == before


def test_what_the_thread_raises_reaches_the_reader_after_what_was_made() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    reader = in_background(fail(), depth=3)
    assert next(reader) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)
