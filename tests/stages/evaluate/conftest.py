"""A small annotated source in two shards, with what makes sets hard: equal images, equal captions, and lost images."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import small_models
import torch
from committed import WRITER, only, write
from PIL import Image
from safetensors.torch import save_file

from stages.contract import CorpusShard, QFormerRecipe, Result
from stages.models.qformer.model import QFormer, QFormerConfig, config_metadata
from stages.models.qformer.tokens import Tokens
from stages.tables import CAPTIONS, IMAGES

WORDS = small_models.TEXT.split()

Described = tuple[str, bytes | None, list[str]]
"""Key, encoded image (None if it was not downloaded), captions."""
MakeShard = Callable[[Sequence[Described], str], CorpusShard]


def picture(number: int) -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((40 + number, 36)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def described() -> list[Described]:
    """27 rows, 24 different images, of which one was not downloaded and one has no words; captions that repeat."""
    rng = random.Random(0)
    sentences = [" ".join(rng.choices(WORDS, k=rng.randint(2, 9))) for _ in range(40)]
    rows: list[Described] = []
    for number in range(24):
        captions = rng.sample(sentences, rng.randint(1, 4))
        rows.append((f"people-{number}", picture(number), captions))
    rows[3] = ("people-3", None, [])
    rows[5] = ("people-5", picture(5), ["..."])
    rows[6][2].append(f"{rows[7][2][0].upper()}.")  # reads the same once it is cleaned
    for number in (0, 1, 0):
        rows.append((f"people-{len(rows)}", picture(number), rng.sample(sentences, 2)))
    return rows


@pytest.fixture(scope="session")
def make_shard(tmp_path_factory) -> MakeShard:
    """A shard of the source `people`, as the store commits it."""

    def make(rows: Sequence[Described], name: str) -> CorpusShard:
        folder = tmp_path_factory.mktemp("people")
        images, captions = [], []
        with tarfile.open(folder / "images.1.tar", "w") as tar:
            for key, content, said in rows:
                image = {**dict.fromkeys(IMAGES.names), "retry": 0, "key": key, "status": "missing_file"}
                if content is not None:
                    member = tarfile.TarInfo(f"{key}.png")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                    image |= {"status": "success", "member": member.name}
                    image["sha256"] = hashlib.sha256(content).hexdigest()
                images.append(image)
                captions += [
                    {"key": key, "writer": WRITER, "candidate": place, "origin": "human", "caption": text}
                    for place, text in enumerate(said, start=1)
                ]
        inputs = {
            "images": write(folder / "images.parquet", images, IMAGES, {"side.tar": "images.1.tar"}),
            "captions": write(folder / "captions.parquet", captions, CAPTIONS),
        }
        return CorpusShard(only(inputs), "people", name)

    return make


@pytest.fixture(scope="session")
def shards(described, make_shard) -> tuple[CorpusShard, ...]:
    return make_shard(described[:14], "0"), make_shard(described[14:], "1")


@pytest.fixture(scope="session")
def qformer(clip_folder) -> QFormer:
    """A random Q-Former whose answers differ visibly from image to image and from text to text."""
    vocabulary = Tokens(str(clip_folder), None, 12).vocabulary
    torch.manual_seed(1)
    model = QFormer(
        QFormerConfig(vocabulary, 32, queries=3, width=32, layers=2, heads=4, projection=12, max_text_tokens=12)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.3)
    return model.eval()


@pytest.fixture(scope="session")
def pretrained(clip_folder, qformer, tmp_path_factory) -> Result:
    """What `pretrain` leaves."""
    folder = tmp_path_factory.mktemp("pretrain")
    weights = {name: value.contiguous() for name, value in qformer.state_dict().items()}
    (folder / "corpus.1.checkpoint").mkdir()
    save_file(weights, folder / "corpus.1.checkpoint/model.safetensors", config_metadata(qformer.config))
    artifact = write(folder / "corpus.parquet", [], CAPTIONS, {"side.checkpoint": "corpus.1.checkpoint"})
    return Result(artifact, QFormerRecipe(model=str(clip_folder), tokenizer=str(clip_folder), max_text_tokens=12))
