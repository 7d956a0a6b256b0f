"""Small models in the public formats, and shards that look as the store commits them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: no test may wait for a network

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_models
import torch
from committed import WRITER, only
from learnable import corpus, human_corpus, make_corpus_shard, make_job  # noqa: F401 - fixtures
from pair import Pair, running
from PIL import Image

from stages.contract import Shard
from stages.io.shards import Artifact
from stages.tables import CAPTIONS, IMAGES, URLS


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the models are too small for more


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Iterator[Pair]:
    """Two other processes. The modules that ask for them are a group of tests/workers.py."""
    with running(tmp_path_factory.mktemp("pair")) as found:
        yield found


@pytest.fixture(scope="session")
def captioner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.save_captioner(tmp_path_factory.mktemp("models") / "captioner")


@pytest.fixture(scope="session")
def itm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.save_itm(tmp_path_factory.mktemp("models") / "itm")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.save_clip(tmp_path_factory.mktemp("models") / "clip")


def picture(number: int) -> Image.Image:
    """A picture of its own for every number: coarse noise, of some size and shape."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return coarse.resize((40 + number % 30, 36 + number % 20))


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def pictures() -> dict[str, Image.Image]:
    return {f"web-0-0-{number}": picture(number) for number in range(7)}


class MakeShard(Protocol):
    """Writes a shard's input artifacts.

    `images` are by key; None stands for a row that was not downloaded, bytes for what is to lie in the tar as it is.
    `captions` are the caption table's rows (key, caption), numbered per key.
    """

    def __call__(
        self,
        images: Mapping[str, Image.Image | bytes | None],
        texts: Mapping[str, str | None] | None = None,
        captions: Sequence[tuple[str, str]] | None = None,
        tar_order: Sequence[str] | None = None,
    ) -> Shard: ...


@pytest.fixture
def make_shard(tmp_path_factory: pytest.TempPathFactory) -> MakeShard:
    def make(
        images: Mapping[str, Image.Image | bytes | None],
        texts: Mapping[str, str | None] | None = None,
        captions: Sequence[tuple[str, str]] | None = None,
        tar_order: Sequence[str] | None = None,
    ) -> Shard:
        folder = tmp_path_factory.mktemp("shard")
        inputs = {
            "urls": _write_urls(folder, list(images), texts or {}),
            "images": _write_images(folder, images, tar_order or list(images)),
        }
        if captions is not None:
            inputs["captions"] = _write_captions(folder, captions)
        return Shard(only(inputs), "web-0-0", folder / "scratch", WRITER)

    return make


def _write_urls(folder: Path, keys: Sequence[str], texts: Mapping[str, str | None]) -> Artifact:
    rows = [
        {"key": key, "source": "web", "url": f"http://x/{key}", "text": texts.get(key), "texts": None, "file": None}
        for key in keys
    ]
    return _write(folder / "urls.parquet", pa.Table.from_pylist(rows, URLS))


def _write_images(folder: Path, images: Mapping[str, Image.Image | bytes | None], tar_order: Sequence[str]) -> Artifact:
    rows = [_image_row(key, image) for key, image in images.items()]
    with tarfile.open(folder / "images.1.tar", "w") as tar:
        for key in tar_order:
            image = images[key]
            if image is not None:
                content = image if isinstance(image, bytes) else encoded(image)
                member = tarfile.TarInfo(f"{key}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    table = pa.Table.from_pylist(rows, IMAGES).replace_schema_metadata({"side.tar": "images.1.tar"})
    return _write(folder / "images.parquet", table)


def _image_row(key: str, image: Image.Image | bytes | None) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(IMAGES.names) | {"retry": 0}
    if image is None:
        return row | {"key": key, "status": "timeout", "error": "no answer"}
    return row | {"key": key, "status": "success", "member": f"{key}.png"}


def _write_captions(folder: Path, captions: Sequence[tuple[str, str]]) -> Artifact:
    rows: list[dict[str, object]] = []
    seen: dict[str, int] = {}
    for key, caption in captions:
        candidate = seen.get(key, 0)
        seen[key] = candidate + 1
        origin = "synthetic" if candidate else "web"
        rows.append({"key": key, "writer": WRITER, "candidate": candidate, "origin": origin, "caption": caption})
    return _write(folder / "captions.parquet", pa.Table.from_pylist(rows, CAPTIONS))


def _write(path: Path, table: pa.Table) -> Artifact:
    pq.write_table(table, path)
    return Artifact(str(path))
