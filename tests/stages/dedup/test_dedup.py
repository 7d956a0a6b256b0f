"""Which images are copies, against the definition said in Python."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from committed import only, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.contract import AtOnceRunOptions, CorpusJob, CorpusShard, Shard
from stages.dedup.compute import Dedup
from stages.dedup.spec import DedupRecipe
from stages.io.shards import Artifact, duplicates
from stages.tables import DUPLICATES, HASHES, IMAGES


@dataclass(frozen=True)
class Image:
    """A row of the corpus."""

    source: str
    shard: str
    key: str
    url: str | None
    content: str
    looks: int | None
    """None: it could not be decoded."""
    retry: int
    status: str


SOURCES = ("above", "between", "own")


@st.composite
def corpora(draw) -> list[Image]:
    """A few images, alike in every way and in none."""
    bases = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=2))
    images = []
    for source in SOURCES:
        for number in range(draw(st.integers(1 if source == "own" else 0, 6))):
            looks = draw(st.sampled_from(bases))
            for bit in draw(st.lists(st.integers(0, 63), max_size=5)):
                looks ^= 1 << bit
            looks = draw(st.sampled_from([looks] * 5 + [None]))
            shard = f"{source}-{number // 3}"
            images.append(
                Image(
                    source,
                    shard,
                    f"{shard}-{number}",
                    draw(
                        st.sampled_from(
                            ["http://x/1", "http://x/2", " http://x/2", "", None, f"http://{source}/{number}"]
                        )
                    ),
                    draw(st.sampled_from(["a", "b", f"{source}{number}"])),
                    looks,
                    draw(st.sampled_from([0, 0, 1, 2])),
                    draw(st.sampled_from(["success"] * 4 + ["timeout"])),
                )
            )
    return images


def job(images: list[Image], folder: Path, *, with_looks: bool) -> CorpusJob:
    corpus = []
    for source, shard in dict.fromkeys((image.source, image.shard) for image in images):
        own = [image for image in images if image.shard == shard]
        rows = [
            dict.fromkeys(IMAGES.names)
            | {"key": image.key, "url": image.url, "status": image.status, "retry": image.retry}
            | {"sha256": hashlib.sha256(image.content.encode()).hexdigest() if image.status == "success" else None}
            for image in own
        ]
        inputs = {"images": write(folder / f"{shard}.parquet", rows, IMAGES)}
        if with_looks:
            seen = [image for image in own if image.status == "success" and image.looks is not None]
            hashed = [{"key": image.key, "hash": image.looks} for image in seen]
            inputs["hashes"] = write(folder / f"{shard}.hash.parquet", hashed, HASHES)
        corpus.append(CorpusShard(only(inputs), source, shard))
    scratch = folder / "scratch"
    scratch.mkdir()
    return CorpusJob(tuple(corpus), "", scratch, sources=SOURCES)


def as_defined(images: list[Image], recipe: DedupRecipe) -> list[dict[str, str]]:
    """Every image beside every earlier one."""

    def order(image: Image) -> tuple[int, bool, str, str]:
        return image.retry, image.source == "own", image.source, image.key

    def alike(one: Image, other: Image) -> dict[str, bool]:
        address = (one.url or "").strip(), (other.url or "").strip()
        return {
            "url": recipe.url and address[0] != "" and address[0] == address[1],
            "content": recipe.content and one.content == other.content,
            "near": recipe.near is not None and _apart(one.looks, other.looks) <= recipe.near,
        }

    there = sorted((image for image in images if image.status == "success"), key=order)
    found = []
    for place, image in enumerate(there):
        if image.source != "own":
            continue
        for rule in ("url", "content", "near"):
            if originals := [other for other in there[:place] if alike(image, other)[rule]]:
                found.append({"key": image.key, "shard": image.shard, "original": originals[0].key, "rule": rule})
                break
    return sorted(found, key=lambda row: (row["shard"], row["key"]))


def _apart(one: int | None, other: int | None) -> int:
    return 99 if one is None or other is None else (one ^ other).bit_count()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(corpora(), st.booleans(), st.booleans(), st.none() | st.integers(0, 7))
def test_copies_are_those_of_the_definition(images, url, content, near):
    recipe = DedupRecipe(url=url, content=content, near=near)
    with tempfile.TemporaryDirectory() as folder:
        output = Dedup(recipe, AtOnceRunOptions())(job(images, Path(folder), with_looks=near is not None))
    expected = as_defined(images, recipe)
    assert output.table.schema == DUPLICATES
    assert output.table.to_pylist() == expected
    assert output.counts["images"] == sum(image.source == "own" and image.status == "success" for image in images)
    asked = {"url": url, "content": content, "near": near is not None}
    for rule in (rule for rule, wanted in asked.items() if wanted):
        assert output.counts[rule] == sum(row["rule"] == rule for row in expected)


def test_a_source_without_a_row_has_no_copies_and_is_not_taken_for_the_one_above(tmp_path):
    twins = [Image("above", "above-0", f"above-0-{number}", "http://x/1", "a", 1, 0, "success") for number in range(2)]
    output = Dedup(DedupRecipe(near=1), AtOnceRunOptions())(job(twins, tmp_path, with_looks=True))
    assert output.table.num_rows == 0
    assert output.counts["images"] == 0


@pytest.mark.parametrize("memory", [0.05, 4.0])
def test_a_larger_source_whatever_the_memory(memory, tmp_path):
    images = [
        Image(
            "own",
            f"own-{number // 500}",
            f"own-{number // 500}-{number:05d}",
            f"http://x/{number % 3000}",
            str(number),
            number * 0x9E3779B97F4A7C15 % 2**64,
            0,
            "success",
        )
        for number in range(4000)
    ]
    output = Dedup(DedupRecipe(near=3), AtOnceRunOptions(memory=memory))(job(images, tmp_path, with_looks=True))
    by_address = [row for row in output.table.to_pylist() if row["rule"] == "url"]
    assert [row["key"][-5:] for row in by_address] == [f"{number:05d}" for number in range(3000, 4000)]
    assert [row["original"][-5:] for row in by_address] == [f"{number:05d}" for number in range(1000)]


def test_a_shard_reads_its_own_copies(tmp_path):
    rows = [
        {"key": f"s-{shard}-{number}", "shard": f"s-{shard}", "original": "s-0-0", "rule": "url"}
        for shard in range(3)
        for number in range(1 + shard)
    ]
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.Table.from_pylist(rows, DUPLICATES), path)
    inputs = only({"duplicates": Artifact(str(path))})
    assert duplicates(Shard(inputs, "s-1", tmp_path)) == {"s-1-0", "s-1-1"}
    assert duplicates(Shard(inputs, "s-9", tmp_path)) == set()
    assert duplicates(Shard({}, "s-1", tmp_path)) == set()
