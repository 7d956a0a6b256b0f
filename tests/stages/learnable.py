"""A corpus that can be learnt in a minute: plain pictures, and captions that say their colour and shape."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import pytest
from committed import WRITER, only, write
from PIL import Image, ImageDraw

from stages.contract import CorpusJob, CorpusShard
from stages.tables import CAPTIONS, IMAGES, SELECTION

COLOURS = ("red", "green", "blue", "black")
SHAPES = ("circle", "square")
SIZES = ("small", "large")
GROUNDS = {"white": (240, 240, 240), "pink": (255, 150, 200), "cyan": (90, 230, 230)}

MakeShard = Callable[..., CorpusShard]
MakeJob = Callable[[], CorpusJob]


def draw(colour: str, shape: str, size: str, ground: str) -> bytes:
    image = Image.new("RGB", (44, 40), GROUNDS[ground])
    pen, reach = ImageDraw.Draw(image), {"small": 8, "large": 18}[size]
    box = (22 - reach, 20 - reach, 22 + reach, 20 + reach)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_corpus_shard(tmp_path_factory) -> MakeShard:
    """A shard of images by key, given as bytes or None for one that was not downloaded, and its select rows.

    `captions` are (key, candidate, caption, rank, kept).
    """

    def make(
        images: dict[str, bytes | None],
        captions: Sequence[tuple[str, int, str, int | None, bool]],
        digests: dict[str, str] | None = None,
        name: str = "0",
        origin: str = "synthetic",
    ) -> CorpusShard:
        folder = tmp_path_factory.mktemp("corpus")
        rows = [{**dict.fromkeys(IMAGES.names), "retry": 0, "key": key, "status": "timeout"} for key in images]
        with tarfile.open(folder / "images.1.tar", "w") as tar:
            for row in rows:
                content = images[row["key"]]
                if content is None:
                    continue
                member = tarfile.TarInfo(f"{row['key']}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                row.update(status="success", member=member.name, sha256=(digests or {}).get(row["key"], row["key"]))
        said = [
            {"key": key, "writer": WRITER, "candidate": candidate, "origin": origin, "caption": caption}
            for key, candidate, caption, _, _ in captions
        ]
        chosen = [
            {"key": key, "writer": WRITER, "candidate": candidate, "rank": rank, "kept": kept}
            | {"reason": "kept" if kept else "outranked"}
            for key, candidate, _, rank, kept in captions
        ]
        inputs = {
            "images": write(folder / "images.parquet", rows, IMAGES, {"side.tar": "images.1.tar"}),
            "captions": write(folder / "captions.parquet", said, CAPTIONS),
            "selection": write(folder / "select.parquet", chosen, SELECTION),
        }
        return CorpusShard(only(inputs), "web", name)

    return make


@pytest.fixture(scope="session")
def corpus(make_corpus_shard) -> tuple[CorpusShard, ...]:
    """Two shards of 24 pictures, each another one, with two captions each."""
    scenes = list(product(COLOURS, SHAPES, SIZES, GROUNDS))
    return tuple(_learnable(make_corpus_shard, part, scenes[part::2]) for part in range(2))


def _learnable(make: MakeShard, part: int, scenes: Sequence[tuple[str, str, str, str]]) -> CorpusShard:
    images, captions = {}, []
    for number, (colour, shape, size, ground) in enumerate(scenes):
        key = f"web-{part}-{number:03d}"
        images[key] = draw(colour, shape, size, ground)
        captions += [
            (key, 1, f"a {size} {colour} {shape} on {ground}", 1, True),
            (key, 2, f"{ground} with one {size} {colour} {shape}", 2, True),
            (key, 3, "two cats", None, False),
        ]
    return make(images, captions, name=str(part))


@pytest.fixture(scope="session")
def human_corpus(make_corpus_shard) -> tuple[CorpusShard, ...]:
    """One shard of the same pictures, with two captions each that people wrote, and no selection."""
    images, captions = {}, []
    for number, (colour, shape, size, ground) in enumerate(product(COLOURS, SHAPES, SIZES, GROUNDS)):
        key = f"human-{number:03d}"
        images[key] = draw(colour, shape, size, ground)
        captions.append((key, 1, f"a {size} {colour} {shape} on {ground}", None, False))
        captions.append((key, 2, f"{ground} with one {size} {colour} {shape}", None, False))
    made = make_corpus_shard(images, captions, origin="human")
    return (replace(made, inputs={role: found for role, found in made.inputs.items() if role != "selection"}),)


@pytest.fixture
def make_job(corpus, tmp_path) -> MakeJob:
    """Jobs over the learnable corpus, each with a checkpoint folder of its own."""
    made: list[CorpusJob] = []

    def make() -> CorpusJob:
        folder = tmp_path / f"job-{len(made)}"
        (folder / "scratch").mkdir(parents=True)
        made.append(CorpusJob(corpus, str(folder / "checkpoints"), folder / "scratch"))
        return made[-1]

    return make
