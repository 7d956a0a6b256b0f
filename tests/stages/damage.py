"""Pictures of every format, damaged at random, and what must hold for each of them.

    python tests/stages/damage.py [COUNT] [SEED]

A picture that is stored decodes in the later stages, and shows what Pillow shows of the file as it came. One that is
refused is one that Pillow refuses too, or that is beyond a limit.
"""

from __future__ import annotations

import io
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from traps import encoded, photo, turned_tiff

from stages.download.conversion import convert
from stages.download.messages import Answer, Wanted
from stages.pictures import decode

EXACT = Wanted(384, "png", 1, 0, 20.0, 100_000_000)
"""Nothing is scaled down, nothing is lost: the pixels are those of the file."""
SMALL = Wanted(128, "jpg", 95, 0, 20.0, 100_000_000)
NEAR = 8.0
"""Mean difference of samples, of 255, after what JPEG loses and another way to scale down."""
SEEN = (32, 24)
"""Pixels that two pictures are compared by then: of noise, JPEG keeps little."""
OWN_REASONS = ("stream breaks off", "decoding it takes", "too many for", "more than", "without a picture")
"""Words of refusals that Pillow knows nothing of."""


@cache
def originals() -> dict[str, bytes]:
    """A whole picture of every kind."""
    rgb, exif = photo(180, 140), Image.Exif()
    exif[0x0112] = 6
    grey, palette, alpha = rgb.convert("L"), rgb.quantize(32), rgb.convert("RGBA")
    alpha.putalpha(grey)
    frames = [photo(180, 140, seed=number) for number in range(3)]
    film: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    return {
        "JPEG": encoded(rgb),
        "JPEG progressive": encoded(rgb, progressive=True),
        "JPEG turned": encoded(rgb, exif=exif),
        "JPEG grey": encoded(grey),
        "JPEG CMYK": encoded(rgb.convert("CMYK")),
        "MPO": encoded(frames[0], "MPO", **film),
        "PNG": encoded(rgb, "PNG"),
        "PNG turned": encoded(rgb, "PNG", exif=exif),
        "PNG palette": encoded(palette, "PNG"),
        "PNG alpha": encoded(alpha, "PNG"),
        "PNG 16 bits": encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        "PNG film": encoded(frames[0], "PNG", **film),
        "WebP": encoded(rgb, "WEBP"),
        "WebP lossless": encoded(rgb, "WEBP", lossless=True),
        "WebP alpha": encoded(alpha, "WEBP", exif=exif),
        "WebP film": encoded(frames[0], "WEBP", **film),
        "GIF": encoded(palette, "GIF"),
        "GIF film": encoded(frames[0], "GIF", **film),
        "AVIF": encoded(rgb, "AVIF", speed=10),
        "AVIF alpha": encoded(alpha, "AVIF", speed=10),
        "BMP": encoded(rgb, "BMP"),
        "BMP palette": encoded(palette, "BMP"),
        "TIFF": encoded(rgb, "TIFF"),
        "TIFF turned": turned_tiff(6),
        "TIFF deflated": encoded(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF LZW": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "TIFF JPEG": encoded(rgb, "TIFF", compression="jpeg"),
    }


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """The file with something wrong with it."""
    data, place = bytearray(whole), rng.randrange(2, len(whole) - 2)
    length = rng.choice((1, 2, 16, 200))

    def wrong_bytes() -> None:
        for _ in range(rng.choice((1, 2, 3, 5))):
            data[rng.randrange(2, len(data) - 2)] = rng.randrange(256)

    def wrong_head() -> None:
        data[rng.randrange(2, min(400, len(data)))] = rng.randrange(256)

    def noise() -> None:
        data[place : place + length] = rng.randbytes(length)

    def hole() -> None:
        data[place : place + length] = bytes(length)

    def lost() -> None:
        del data[place : place + length]

    def twice() -> None:
        data[place:place] = data[place : place + length]

    def cut() -> None:
        del data[place:]

    def cut_with_an_end() -> None:
        data[place:-2] = b""

    rng.choice((wrong_bytes, wrong_bytes, wrong_bytes, wrong_head, noise, hole, lost, twice, cut, cut_with_an_end))()
    return bytes(data)


def examples(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged pictures, format by format in turn."""
    rng, whole = random.Random(seed), originals()
    names = list(whole)
    for number in range(count):
        name = names[number % len(names)]
        yield name, damaged(whole[name], rng)


def as_pillow_shows(data: bytes) -> Image.Image:
    """The picture by Pillow alone: upright, 8 bits a sample, on white."""
    image: Image.Image = Image.open(io.BytesIO(data))
    image.load()
    with suppress(Exception):  # it cannot read the EXIF block
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def fault(data: bytes, exact: Answer, small: Answer) -> str | None:
    """What is wrong with what became of a file, stored as it is and smaller; None if nothing is."""
    if (exact.status, exact.words) != (small.status, small.words):
        return f"{exact.status} or {small.status}"
    try:
        shown = as_pillow_shows(data)
    except Exception as error:  # noqa: BLE001 - whatever Pillow raises, it does not show it
        return None if exact.sizes is None else f"stored, but Pillow refuses it: {error}"
    if exact.sizes is None or small.sizes is None:
        known = exact.status == "bad_aspect" or any(words in str(exact.words) for words in OWN_REASONS)
        return None if known else f"refused, but Pillow shows it: {exact.words}"
    stored, smaller = (decode(answer.content or data) for answer in (exact, small))
    if (stored.size, smaller.size, shown.size) != (exact.sizes[:2], small.sizes[:2], exact.sizes[2:]):
        return f"{stored.size} and {smaller.size} of {shown.size} are told as {exact.sizes} and {small.sizes}"
    if (away := _distance(shown, stored)) > 1:
        return f"another picture than Pillow shows: a sample is {away} of 255 apart"
    seen = [image.resize(SEEN, Image.Resampling.BOX) for image in (shown, smaller)]
    away = float(abs(np.asarray(seen[0], float) - np.asarray(seen[1], float)).mean())
    return f"another picture than Pillow shows: {away:.1f} of 255 apart" if away > NEAR else None


def _distance(one: Image.Image, other: Image.Image) -> int:
    return int(abs(np.asarray(one, int) - np.asarray(other, int)).max())


def run(count: int, seed: int, work: Callable[[bytes, Wanted], Answer]) -> tuple[Counter[str], list[str]]:
    """Statuses, and the faults that were found."""
    statuses: Counter[str] = Counter()
    faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (name, data) in enumerate(examples(count, seed)):
            exact, small = work(data, EXACT), work(data, SMALL)
            statuses[exact.status] += 1
            if (found := fault(data, exact, small)) is not None:
                faults.append(f"{number} ({name}): {found}")
    return statuses, faults


def main() -> None:
    """Try, and print."""
    count, seed = (int(word) for word in (sys.argv[1:] + ["2000", "12"][len(sys.argv) - 1 :]))
    statuses, faults = run(count, seed, lambda data, wanted: convert(data, wanted, lambda: None))
    print(f"{count} damaged pictures: {dict(statuses)}, {len(faults)} faults")
    print(*faults, sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
