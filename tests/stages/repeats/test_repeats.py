"""Which candidates have a text that too many images have, against the definition said in Python."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from committed import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dag.verdicts import changed_shards
from stages.contract import AtOnceRunOptions, CorpusJob, CorpusShard
from stages.repeats.compute import Repeats
from stages.repeats.spec import RepeatsRecipe
from stages.tables import CAPTIONS, REPEATS


class Candidate(NamedTuple):
    image: int
    writer: str
    number: int
    text: str

    @property
    def key(self) -> str:
        return f"web-{self.image:05d}"

    @property
    def shard(self) -> str:
        return f"web-{self.image // 4}"

    @property
    def origin(self) -> str:
        return {"people": "human", "others": "shuffled"}.get(self.writer, "synthetic")


TEXTS = ["stock photo", "Stock  PHOTO", "a dog", "STRASSE", "straße", "", " "]
CANDIDATES = st.builds(
    Candidate,
    st.integers(0, 9),
    st.sampled_from(["one", "two", "people", "others"]),
    st.integers(1, 2),
    st.sampled_from(TEXTS),
)


def form(text: str) -> str:
    return " ".join(text.split()).casefold()


def job(candidates: Sequence[Candidate], folder: Path) -> CorpusJob:
    corpus = []
    for shard in dict.fromkeys(one.shard for one in candidates):
        tables = []
        for writer in dict.fromkeys(one.writer for one in candidates):
            own = [one for one in candidates if (one.shard, one.writer) == (shard, writer)]
            rows = [
                {"key": one.key, "writer": writer, "candidate": one.number, "origin": one.origin, "caption": one.text}
                for one in own
            ]
            tables.append(write(folder / f"{shard}-{writer}", rows, CAPTIONS))
        corpus.append(CorpusShard({"captions": tuple(tables)}, "web", shard))
    scratch = folder / "scratch"
    scratch.mkdir()
    return CorpusJob(tuple(corpus), "", scratch, sources=("web",))


def repeats(candidates: Sequence[Candidate], most: int, memory: float = 1.0):
    with tempfile.TemporaryDirectory() as folder:
        found = Repeats(RepeatsRecipe(most=most), AtOnceRunOptions(memory=memory))
        table = found(job(candidates, Path(folder))).table
    assert table.schema == REPEATS
    return table


def order(key: str, text: str) -> int:
    digest = int.from_bytes(hashlib.md5(text.encode()).digest(), "little")
    return int.from_bytes(hashlib.md5(f"{key}{digest}".encode()).digest(), "little")


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CANDIDATES, max_size=40, unique_by=lambda one: one[:3]), st.integers(1, 4))
def test_repeats_are_those_of_the_definition(candidates: list[Candidate], most: int) -> None:
    said = [one for one in candidates if form(one.text) and one.origin != "shuffled"]
    expected = []
    for text in {form(one.text) for one in said}:
        having = {one.key for one in said if form(one.text) == text}
        human = {one.key for one in said if form(one.text) == text and one.origin == "human"}
        if len(having) <= most:
            continue
        may = sorted(having, key=lambda key: (key not in human, order(key, text)))[:most]
        expected += [
            {
                "key": one.key,
                "shard": one.shard,
                "writer": one.writer,
                "candidate": one.number,
                "images": len(having),
            }
            for one in said
            if form(one.text) == text and one.key not in may and one.origin != "human"
        ]
    expected.sort(key=lambda row: (row["shard"], row["key"], row["writer"], row["candidate"]))
    assert repeats(candidates, most).to_pylist() == expected


def test_a_list_that_grows_moves_few() -> None:
    before = [Candidate(image, "one", 1, "stock photo") for image in range(120)]
    after = [*before, *(Candidate(image, "one", 1, "Stock photo") for image in range(120, 132))]
    tables = [repeats(found, most=20, memory=0.05) for found in (before, after)]
    assert [table.num_rows for table in tables] == [100, 112]
    moved = set(tables[1]["key"].to_pylist()) - set(tables[0]["key"].to_pylist())
    old = {one.key for one in before}
    assert len(moved & old) <= 6  # of twenty that may keep it two are to be expected
    shards = changed_shards(*tables)
    assert {one.shard for one in before if one.key in moved} == {name for name in shards if int(name[4:]) < 30}
