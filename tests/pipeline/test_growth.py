"""A list that grows, and shrinks: only what is new is worked, and what one sees is what a new run would show."""

from __future__ import annotations

import errno
import json
import random
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from picture_web import Web

from pipeline.session import open_output
from pipeline.sql.catalog import connect, query
from pipeline.store import Store
from pipeline.watch.console import records
from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT
from tests.pipeline.test_cli import LOCAL

MODELS = ROOT / "stages/demo/checkpoints"
MANIFEST = f"""\
output: OUT
sources: {{web: {{format: csv, path: PATH, where: "URL not like '%/hidden%'", keep: [note]}}}}
urls: {{shard_size: SIZE}}
download: {{image_size: 32, allow_addresses: [127.0.0.1], retries: 0}}
caption: {{model: {MODELS}/captioner, candidates: 2}}
rank: {{model: {MODELS}/clip}}
filter: {{model: {MODELS}/itm}}
select: {{k: 1, itm_threshold: 0.1}}
"""
VIEWS = ("urls", "images", "captions", "corpus", "losses", "funnel", "round")


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lists").mkdir()


def write(web: Web, name: str, numbers: Iterable[int]) -> None:
    rows = [f"{web.url(f'/{number}')},text of {number},note {number}" for number in numbers]
    Path(f"lists/{name}.csv").write_text("\n".join(["URL,TEXT,note", *rows]) + "\n")


def manifest(out: str, size: int = 3, path: str = "lists/*.csv") -> str:
    Path(f"{out}.yaml").write_text(MANIFEST.replace("OUT", out).replace("SIZE", str(size)).replace("PATH", path))
    return f"{out}.yaml"


def run(capsys: pytest.CaptureFixture[str], name: str, *more: str) -> dict[str, Any]:
    code, out, err = capfilt(capsys, "run", name, *LOCAL[2:], "--json", *more)
    assert code == 0, err
    return json.loads(out)


def views(name: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of the views, but for the shard that a row lies in, which is the run's own affair."""
    own = {
        "urls": " EXCLUDE (shard)",
        "captions": " EXCLUDE (shard)",
        "images": " EXCLUDE (shard, member, retry)",
    }
    return rows_of_views(name, {view: own.get(view, "") for view in VIEWS})


def rows_of_views(name: str, views: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """All rows of views, as `capfilt query` has them; each with the columns that are left out, as SQL."""
    session = open_output(name)
    catalog = connect(session.graph, session.store, session.others())
    return {view: records(*query(catalog, f"SELECT *{own} FROM {view} ORDER BY ALL")) for view, own in views.items()}


def nearly(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows to compare with: how many images a matrix product takes at once shows in the last digits of scores."""
    return [
        {name: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]


def rows_of(stage: str) -> int:
    """How many rows the tables of a stage hold, counted or not."""
    return sum(pq.read_metadata(path).num_rows for path in Path("out", stage).glob("*/*.parquet"))


@pytest.mark.usefixtures("_here")
def test_only_what_is_new_is_worked_and_what_is_gone_counts_no_more(web: Web, capsys) -> None:
    write(web, "a", range(1, 6))
    write(web, "b", [11, 12, 12, 13])  # the same row twice
    write(web, "c", range(21, 25))
    web.down |= {"/3", "/22"}
    name = manifest("out")
    run(capsys, name)
    captioned = rows_of("caption")
    assert captioned == 2 * (13 - 2)
    web.asked.clear()

    write(web, "b", [14, 12, 11, 12, 13, 15])  # rows put in front and behind, and another order
    write(web, "d", [31, 32])
    Path("lists/c.csv").unlink()
    manifest("out", size=2, path="[lists/d.csv, lists/b.csv, lists/a.csv]")
    told = capfilt(capsys, "plan", name)[1]
    assert "1 file added: d.csv; 1 file changed: b.csv; 1 file gone: c.csv" in " ".join(told.split())
    run(capsys, name)
    assert web.asked == {"/14": 1, "/15": 1, "/31": 1, "/32": 1}
    assert rows_of("caption") == captioned + 2 * 4

    web.asked.clear()
    web.down.clear()
    code, _, err = capfilt(capsys, "retry", name, *LOCAL[2:])
    assert code == 0
    assert "1 rows of 1 shards are tried again" in err
    assert web.asked == {"/3": 1}
    assert rows_of("caption") == captioned + 2 * 5
    grown = views(name)
    run(capsys, manifest("new", path="[lists/d.csv, lists/b.csv, lists/a.csv]"))
    assert views("new.yaml") == {view: nearly(rows) for view, rows in grown.items()}

    web.asked.clear()
    write(web, "c", range(21, 25))  # the file is back, and with it what was made of it
    manifest("out")
    run(capsys, name)
    assert web.asked == {}
    code, out, _ = capfilt(
        capsys, "query", name, "SELECT status, count(*) AS n FROM images GROUP BY 1 ORDER BY 1", "--json"
    )
    assert json.loads(out) == [{"status": "http_5xx", "n": 1}, {"status": "success", "n": 16}]


@pytest.mark.usefixtures("_here")
def test_it_may_be_killed_at_any_table(web: Web, capsys, monkeypatch) -> None:
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    draw, commit, kills = random.Random(seed).random, Store.commit, []

    def dying(self: Store, *arguments: Any, **options: Any) -> None:
        at = draw()
        if at > 0.15:
            commit(self, *arguments, **options)
        if at < 0.3:
            kills.append(arguments)
            raise KeyboardInterrupt

    def until_done(name: str, command: str) -> None:
        monkeypatch.setattr(Store, "commit", dying)
        while (done := capfilt(capsys, command, name, *LOCAL[2:], "--until", "download"))[0] > 2:
            pass
        monkeypatch.setattr(Store, "commit", commit)
        assert done[0] == 0, done[2]

    write(web, "a", range(1, 9))
    write(web, "b", range(11, 16))
    web.down |= {"/3", "/14"}
    until_done(manifest("out"), "run")
    write(web, "a", [*range(1, 9), 9, 10])
    write(web, "c", range(21, 24))
    Path("lists/b.csv").write_text("\n".join(Path("lists/b.csv").read_text().splitlines()[:-1]) + "\n")
    until_done(manifest("out", size=2), "run")
    web.down.clear()
    until_done("out.yaml", "retry")
    assert kills
    grown = views("out.yaml")
    run(capsys, manifest("new"), "--until", "download")
    assert views("new.yaml") == grown


@pytest.mark.usefixtures("_here")
def test_more_rows_of_a_list_that_was_cut_off_are_new_rows(web: Web, capsys) -> None:
    write(web, "a", range(1, 4))
    write(web, "b", range(4, 9))
    write(web, "c", range(9, 12))
    name = manifest("out")
    until = ("--until", "download")
    assert run(capsys, name, *until, "--limit", "5")["funnel"][0]["count"] == 5
    assert sorted(web.asked) == [f"/{number}" for number in range(1, 6)]
    web.asked.clear()
    assert run(capsys, name, *until, "--limit", "7")["funnel"][0]["count"] == 7
    assert sorted(web.asked) == ["/6", "/7"]
    assert run(capsys, name, *until, "--limit", "2")["funnel"][0]["count"] == 2
    web.asked.clear()
    assert run(capsys, name, *until)["funnel"][0]["count"] == 11
    assert sorted(web.asked) == ["/10", "/11", "/8", "/9"]


@pytest.mark.usefixtures("_here")
def test_a_limit_looks_at_the_lists_twice_and_knows_what_lies_behind(web: Web, capsys, monkeypatch) -> None:
    from pipeline import session

    for number in range(6):
        write(web, f"{number}", range(10 * number, 10 * number + 3))
    name = manifest("out")
    until = ("--until", "download")
    run(capsys, name, *until)
    web.asked.clear()
    write(web, "0", range(4))
    looked = []
    find = session.find_parts
    monkeypatch.setattr(session, "find_parts", lambda *given: [looked.append(1), find(*given)][1])
    assert run(capsys, name, *until, "--limit", "12")["funnel"][0]["count"] == 12
    assert len(looked) == 2
    assert web.asked == {"/3": 1}


@pytest.mark.usefixtures("_here")
def test_how_often_a_folder_is_listed_hangs_on_no_number_of_files(web: Web, capsys, monkeypatch) -> None:
    listed = Counter[str]()
    names = Store.names
    monkeypatch.setattr(Store, "names", lambda *given: [listed.update(given[1:]), names(*given)][1])

    def counts(out: str, files: int) -> list[int]:
        for number in range(files):
            write(web, f"{number}", [10 * number])
        run(capsys, manifest(out), "--until", "urls")
        for number in range(files):
            write(web, f"{number}", [10 * number, 10 * number + 1])
        listed.clear()
        run(capsys, manifest(out), "--until", "urls")
        return sorted(count for folder, count in listed.items() if "/urls/" in folder)

    assert counts("few", 2) == counts("many", 9)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("wrong", [("--until", "nowhere"), ("--address", "auto")])
def test_a_mistake_in_a_retry_is_told_before_anything_is_marked(web: Web, capsys, wrong: tuple[str, ...]) -> None:
    write(web, "a", [1, 2])
    web.down.add("/2")
    run(capsys, manifest("out"), "--until", "download")
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    assert capfilt(capsys, "retry", "out.yaml", *LOCAL[2:], *wrong)[0] == 2
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("_here")
def test_an_output_that_may_not_be_written_is_told_in_a_line(web: Web, capsys, monkeypatch) -> None:
    write(web, "a", [1, 2])
    run(capsys, manifest("out"), "--until", "download")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "out/x.parquet")

    Path("removed.txt").touch()
    Path("out.yaml").write_text("removed: removed.txt\n" + Path("out.yaml").read_text())
    monkeypatch.setattr(Store, "commit", refuse)
    code, _, err = capfilt(capsys, "forget", "out.yaml", web.url("/1"))
    assert code == 2
    assert err.splitlines()[-1] == "capfilt: out/x.parquet: Permission denied; check its permissions"
