"""Perceptual hashes against a computation of their own, and against what they are for."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.fft import dctn

from stages.hash.compute import Hash
from stages.hash.spec import HashRecipe, HashRun
from stages.io.shards import read_images
from stages.tables import HASHES


def hashes(make_shard, images, method="phash", threads=2):
    output = Hash(HashRecipe(method=method), HashRun(threads=threads))(make_shard(images))
    assert output.table.schema == HASHES
    assert output.counts == {"images": output.table.num_rows}
    return dict(zip(output.table["key"].to_pylist(), output.table["hash"].to_pylist(), strict=True))


def scene(number: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Something with large shapes, as photographs have."""
    random = np.random.default_rng(number)
    return Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def again(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


def test_phash_is_the_signs_of_the_lowest_frequencies(make_shard):
    images = {f"k{number}": scene(number) for number in range(5)}
    found = hashes(make_shard, images)
    for key, image in images.items():
        grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
        low = dctn(grey, type=2)[:8, :8]
        bits = "".join("1" if bit else "0" for bit in (low > np.median(low)).flatten())
        assert found[key] == int(bits, 2)


def test_dhash_is_where_brightness_rises(make_shard):
    images = {f"k{number}": scene(number) for number in range(5)}
    found = hashes(make_shard, images, "dhash")
    for key, image in images.items():
        grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS), int)
        bits = "".join("1" if bit else "0" for bit in (grey[:, 1:] > grey[:, :-1]).flatten())
        assert found[key] == int(bits, 2)


def test_copies_differ_in_few_bits_and_pictures_in_many(make_shard):
    images = {}
    for number in range(12):
        picture = scene(number)
        images[f"{number}-as-it-is"] = picture
        images[f"{number}-smaller"] = picture.resize((200, 150), Image.Resampling.LANCZOS)
        images[f"{number}-poorer"] = again(picture, 40)
    found = hashes(make_shard, images)
    for one, bits in found.items():
        for other, others in found.items():
            distance = (bits ^ others).bit_count()
            assert (distance <= 4) == (one.split("-")[0] == other.split("-")[0]), (one, other, distance)


def test_the_order_is_that_of_the_tar_however_many_threads(make_shard):
    images = {f"k{number}": scene(number, (20, 20)) for number in range(40)}
    shard = make_shard({**images, "dead": None})
    output = Hash(HashRecipe(), HashRun(threads=3))(shard)
    assert output.table["key"].to_pylist() == [key for key, _ in read_images(shard.one("images"))]


def test_an_image_that_cannot_be_decoded_costs_itself(make_shard, caplog):
    whole = again(scene(2), 90)
    shard = make_shard({"fine": scene(1), "broken": b"no image", "cut": whole[:-300], "whole": whole})
    output = Hash(HashRecipe(), HashRun())(shard)
    assert output.table["key"].to_pylist() == ["fine", "whole"]
    assert output.counts == {"images": 2, "not_an_image": 2}
    assert "image broken is listed as downloaded but cannot be decoded: none of JPEG" in caplog.text


def test_turned_pictures_are_hashed_upright(make_shard):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    scene(3).transpose(Image.Transpose.ROTATE_90).save(buffer, "png", exif=exif)
    found = hashes(make_shard, {"upright": scene(3), "turned": buffer.getvalue()})
    assert found["upright"] == found["turned"]
