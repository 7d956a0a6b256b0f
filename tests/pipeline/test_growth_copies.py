"""A list that grows, where copies are looked for: only those shards are redone of which something else is said now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from picture_web import Web

from stages.urls.keys import file_id
from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT
from tests.pipeline.test_cli import LOCAL
from tests.pipeline.test_growth import nearly, rows_of_views

MODELS = ROOT / "stages/demo/checkpoints"
MANIFEST = f"""\
output: OUT
removed: removed.txt
sources: {{web: {{format: csv, path: lists/*.csv}}}}
urls: {{shard_size: SIZE}}
download: {{image_size: 32, encode_format: png, encode_quality: 1, allow_addresses: [127.0.0.1]}}
hash: {{}}
dedup: {{near: 3}}
caption: {{model: {MODELS}/captioner, candidates: 2}}
rank: {{model: {MODELS}/clip}}
select: {{k: 1, itm_threshold: null}}
"""
BEFORE, JUDGED = ("urls", "download", "hash"), ("caption", "rank", "select")
VIEWS = ("images", "duplicates", "captions", "corpus", "losses", "funnel")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lists").mkdir()
    Path("removed.txt").touch()


def write(web: Web, name: str, paths: Iterable[str]) -> None:
    rows = [f"{web.url(path)},text of {path}" for path in paths]
    Path(f"lists/{name}.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")


def run(capsys: pytest.CaptureFixture[str], out: str, size: int = 2) -> str:
    Path(f"{out}.yaml").write_text(MANIFEST.replace("OUT", out).replace("SIZE", str(size)))
    code, _, err = capfilt(capsys, "run", f"{out}.yaml", *LOCAL[2:])
    assert code == 0, err
    return f"{out}.yaml"


def attempts() -> dict[str, dict[str, str]]:
    """By stage and shard, by which attempt it was done."""
    return {
        stage: {
            path.stem: pq.read_schema(path).metadata[b"attempt"].decode()
            for path in Path("out", stage).glob("*/*.parquet")
        }
        for stage in (*BEFORE, *JUDGED)
    }


def shards_of(*paths: str) -> set[str]:
    """The shards of rows by the ends of their addresses."""
    tables = {path.stem: pq.read_table(path)["url"].to_pylist() for path in Path("out/urls").glob("*/*.parquet")}
    return {shard for shard, urls in tables.items() if any(url.endswith(paths) for url in urls)}


def views(name: str) -> dict[str, list[dict[str, Any]]]:
    """All rows, but for the shard that a row lies in."""
    leave = {"captions": "(shard)", "duplicates": "(shard)", "images": "(shard, member)"}
    return rows_of_views(name, {view: f" EXCLUDE {leave[view]}" if view in leave else "" for view in VIEWS})


def test_only_shards_with_other_copies_are_redone_and_it_is_what_a_new_run_finds(web, capsys):
    first, old, last = sorted("abc", key=lambda name: file_id("web", f"{name}.csv"))  # as the originals are chosen
    write(
        web, old, ["/1", "/2", "/3", "/4", "/5", "/6", "/again/5", "/7"]
    )  # four shards; a copy in the third or fourth
    name = run(capsys, "out")
    before = attempts()
    judged = pq.read_table(next(Path("out/dedup").glob("*/*.parquet")))["shard"].to_pylist()
    assert len(judged) == 1
    web.asked.clear()

    write(web, first, ["/again/3", "/11"])  # /3 is a copy now
    write(web, last, ["/12", "/13", "/14", "/small/1"])  # a copy of its own
    run(capsys, "out")
    now = attempts()
    new = shards_of("/again/3", "/11", "/12", "/13", "/14", "/small/1")
    for stage in (*BEFORE, *JUDGED):
        redone = {shard for shard in before[stage] if now[stage][shard] != before[stage][shard]}
        assert redone == (shards_of("/3") - new if stage in JUDGED else set())
        assert now[stage].keys() - before[stage].keys() == new
    assert len(web.asked) == 6
    grown = views(name)
    assert len(grown["duplicates"]) == 3
    assert views(run(capsys, "new", size=3)) == {view: nearly(rows) for view, rows in grown.items()}

    Path(f"lists/{first}.csv").unlink()  # and /3 is none any more
    run(capsys, "out")
    after = attempts()
    for stage in JUDGED:
        redone = {shard for shard in now[stage] if after[stage].get(shard) != now[stage][shard]}
        assert redone - shards_of("/11") == shards_of("/3") - new
    shrunk = views(name)
    assert len(shrunk["duplicates"]) == 2
    assert views(run(capsys, "less", size=3)) == {view: nearly(rows) for view, rows in shrunk.items()}


def test_what_was_a_copy_of_a_forgotten_image_is_none_with_the_next_run(web, capsys):
    write(web, "a", ["/1", "/2", "/3", "/other/1", "/again/1", "/4"])  # three of the same bytes
    name = run(capsys, "out")
    before, found = attempts(), views(name)
    (original,) = {row["original"] for row in found["duplicates"]}
    assert len(found["duplicates"]) == 2
    (address,) = [row["url"] for row in found["images"] if row["key"] == original]
    code, _, err = capfilt(capsys, "forget", name, address)
    assert code == 0, err
    left = views(name)  # what is asked before the next run sees what is left
    assert [row for row in left["corpus"] if row in found["corpus"]] == left["corpus"]
    assert len(left["corpus"]) == len(found["corpus"]) - 1
    assert capfilt(capsys, "status", name)[0] == 0

    run(capsys, "out")
    now = views(name)
    assert len(now["duplicates"]) == 1
    freed = {row["key"] for row in left["duplicates"]} - {row["key"] for row in now["duplicates"]}
    (path,) = [row["url"].removeprefix(web.url("")) for row in now["images"] if row["key"] in freed]
    redone = {shard for shard in before["caption"] if attempts()["caption"][shard] != before["caption"][shard]}
    assert redone <= shards_of(path, address)
    new = views(run(capsys, "new", size=3))
    for rows in (now["images"], new["images"]):  # of what was there once the sum stays; a new run never has it
        rows[:] = [row if row["status"] == "success" else {"key": row["key"], "status": row["status"]} for row in rows]
    assert new == {view: nearly(rows) for view, rows in now.items()}
