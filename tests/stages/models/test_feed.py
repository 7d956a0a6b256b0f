import io
import os
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from stages.contract import Shard
from stages.io.image_batches import Preprocess, batches
from stages.io.prefetch import in_background
from stages.tables import IMAGES


def mean_colour(image: Image.Image) -> Tensor:
    assert image.mode == "RGB"
    return torch.tensor([float(image.resize((1, 1)).getpixel((0, 0))[band]) for band in range(3)])  # type: ignore[index]


def test_every_image_comes_once_in_the_tars_order(make_shard: Callable, pictures: dict[str, Image.Image]) -> None:
    order = sorted(pictures, reverse=True)
    shard = make_shard({**pictures, "dead": None}, tar_order=[*order, "dead"])
    found = list(batches(shard.one("images"), mean_colour, batch_size=3))
    assert [batch.keys for batch in found] == [order[:3], order[3:6], order[6:]]
    for batch in found:
        assert torch.equal(batch.pixels, torch.stack([mean_colour(pictures[key]) for key in batch.keys]))
        assert batch.broken == {}


def test_a_shard_without_images_gives_no_batch(make_shard: Callable) -> None:
    assert list(batches(make_shard({"dead": None}).one("images"), mean_colour, batch_size=3)) == []


def test_images_of_any_mode_come_as_rgb(make_shard: Callable, pictures: dict[str, Image.Image]) -> None:
    picture = next(iter(pictures.values()))
    modes = {mode: picture.convert(mode) for mode in ("L", "RGBA", "P", "LA", "1")}
    (batch,) = batches(make_shard(modes).one("images"), mean_colour, batch_size=8)
    assert batch.pixels.shape == (len(modes), 3)


def looked_at(shard: Shard, preprocess: Preprocess = mean_colour, size: int = 3) -> tuple[dict[str, Tensor], dict]:
    """The pixels of the images that there are, and the reasons of the others."""
    pixels, broken = {}, {}
    for batch in batches(shard.one("images"), preprocess, size):
        pixels |= zip(batch.keys, batch.pixels, strict=True)
        broken |= batch.broken
    return pixels, broken


@pytest.mark.parametrize("size", [1, 2, 100])
def test_bytes_that_are_no_picture_cost_their_own_row(
    make_shard: Callable, pictures: dict[str, Image.Image], size: int
) -> None:
    whole = io.BytesIO()
    pictures["web-0-0-0"].save(whole, "png")
    cut = whole.getvalue()[:-40]
    first, *others = pictures.items()
    shard = make_shard({"text": b"no picture", **dict([first]), "cut": cut, "nothing": b"", **dict(others)})
    pixels, broken = looked_at(shard, size=size)
    assert all(torch.equal(pixels[key], mean_colour(picture)) for key, picture in pictures.items())
    assert broken.keys() == {"text", "cut", "nothing"}
    assert all(re.fullmatch(r"cannot be decoded: .+", reason) for reason in broken.values())


def test_a_picture_that_cannot_be_preprocessed_costs_its_own_row(
    make_shard: Callable, pictures: dict[str, Image.Image]
) -> None:
    def fail_for_one(image: Image.Image) -> Tensor:
        if image.size == pictures["web-0-0-3"].size:
            raise ZeroDivisionError("no pixel\nis left")
        return mean_colour(image)

    pixels, broken = looked_at(make_shard(pictures), fail_for_one)
    assert broken == {"web-0-0-3": "cannot be preprocessed: ZeroDivisionError: no pixel is left"}
    assert len(pixels) == 6


def test_an_image_that_the_tar_has_no_longer_costs_its_own_row(
    make_shard: Callable, pictures: dict[str, Image.Image]
) -> None:
    shard = make_shard(pictures, tar_order=list(pictures)[2:])
    pixels, broken = looked_at(shard)
    assert list(pixels) == list(pictures)[2:]
    tar = shard.one("images").side("tar")
    assert broken == dict.fromkeys(list(pictures)[:2], f"not in its tar: {tar}")


def test_a_tar_that_is_cut_off_loses_what_lies_behind(make_shard: Callable, pictures: dict[str, Image.Image]) -> None:
    shard = make_shard(pictures)
    tar = Path(shard.one("images").side("tar"))
    with tarfile.open(tar) as archive:
        third = archive.getmembers()[2]
    os.truncate(tar, third.offset_data + third.size // 2)
    pixels, broken = looked_at(shard)
    assert (list(pixels), list(broken)) == (list(pictures)[:2], list(pictures)[2:])


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_a_tar_that_is_none_is_an_error(make_shard: Callable, pictures: dict[str, Image.Image], content: bytes) -> None:
    shard = make_shard(pictures)
    Path(shard.one("images").side("tar")).write_bytes(content)
    with pytest.raises(tarfile.ReadError):
        looked_at(shard)
    Path(shard.one("images").side("tar")).unlink()
    with pytest.raises(FileNotFoundError):
        looked_at(shard)


def test_rows_of_one_member_all_get_it(make_shard: Callable, pictures: dict[str, Image.Image]) -> None:
    shard = make_shard(dict.fromkeys(("a", "b"), pictures["web-0-0-0"]))
    images = shard.one("images")
    table = images.table().to_pylist()
    table[1]["member"] = table[0]["member"]
    pq.write_table(pa.Table.from_pylist(table, IMAGES).replace_schema_metadata(images.metadata()), images.url)
    assert list(looked_at(shard)[0]) == ["a", "b"]


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
