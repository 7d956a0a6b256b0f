"""Trainings that are interrupted, and whose images change before they go on: what is told, and what they have seen."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from picture_web import Web

from pipeline.session import open_output
from pipeline.store import Store
from pipeline.upkeep.clean import clean
from stages.registry import STAGES
from stages.training.task import Row
from tests.pipeline.command import capfilt
from tests.pipeline.test_cli import LOCAL
from tests.stages.training.toy import SPEC, Killed, Toy

IMAGES = 10
MANIFEST = """\
output: out
removed: removed.txt
sources:
  web: {format: csv, path: list.csv}
download: {allow_addresses: [127.0.0.1], retries: 0}
select: {k: null, itm_threshold: null}
med: {steps: 6, batch_size: 4}
"""


@pytest.fixture(autouse=True)
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest whose training takes a moment, and goes on though one image of ten has changed."""
    monkeypatch.setitem(STAGES, "med", SPEC)
    monkeypatch.setattr("stages.training.beginning.MOST_CHANGED", 0.1)
    monkeypatch.setattr(Toy, "on_step", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("removed.txt").touch()
    Path("m.yaml").write_text(MANIFEST)
    rows = [f"{web.url(f'/{number}')},text of {number}" for number in range(IMAGES)]
    Path("list.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")
    return tmp_path


def at(step: int, what: Callable[[], Any]) -> Callable[[Row], None]:
    def on_step(row: Row) -> None:
        if row["step"] == step:
            what()

    return on_step


def kill() -> None:
    raise Killed


def run(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What a run that comes to its end says on the way."""
    code, _, err = capfilt(capsys, *LOCAL, *more)
    assert code == 0, err
    return " ".join(err.split())


def killed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(Toy, "on_step", at(step, kill))
    with pytest.raises(Killed):
        print(capfilt(capsys, *LOCAL))
    monkeypatch.setattr(Toy, "on_step", None)


def forget(capsys: pytest.CaptureFixture[str], *entries: str) -> list[tuple[str, bool]]:
    """The models that have seen what is forgotten, by the name of their data, and whether they are unfinished."""
    code, out, err = capfilt(capsys, "forget", "m.yaml", *entries, "--json")
    assert code == 0, err
    return [(Path(model["model"]).name.partition(".")[0], model["unfinished"]) for model in json.loads(out)["models"]]


def plan(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(capfilt(capsys, "plan", "m.yaml", "--json")[1])
    return found


def data() -> str:
    return open_output("m.yaml").graph.nodes["med"].rows_now


def checkpoints() -> set[str]:
    return {path.name for path in Path("out/med").glob("*/checkpoints/*")}


def test_an_image_forgotten_meanwhile_is_a_gap_and_the_model_is_known_to_have_seen_it(web, capsys, monkeypatch):
    killed(capsys, monkeypatch, 4)
    first = data()
    assert forget(capsys, web.url("/2")) == [(first, True)]
    Toy.seen.clear()
    said = run(capsys)
    assert (
        "med: going on from step 3, since when 1 of 10 images have gone and 0 have come (10.000%); others of their "
        "shards stand in for those gone, and those new are not trained on" in said
    )
    assert "med: drawn at random: guess.weight" in said
    assert [step for step, _ in Toy.seen] == [4, 5, 6]
    second = data()
    assert second != first
    assert forget(capsys) == [(second, False), (first, True)]
    assert not plan(capsys)[-1]["stale"]  # it has the rows that count
    store = Store.open("out")
    assert clean(store, older_than=timedelta(hours=1), keep=None, dry_run=False).strays == []
    (left,) = clean(store, older_than=timedelta(0), keep=None, dry_run=True).strays
    assert Path(left).name == first
    clean(store, older_than=timedelta(0), keep=None, dry_run=False)
    assert checkpoints() == {second}
    assert forget(capsys) == [(second, False)]

    assert forget(capsys, web.url("/5")) == [(second, False)]
    assert plan(capsys)[-1]["stale"]
    Toy.seen.clear()
    run(capsys)
    assert not Toy.seen  # it is kept
    run(capsys, "--refresh", "med")
    assert [step for step, _ in Toy.seen] == list(range(1, 7))
    assert forget(capsys) == [(second, False)]  # the new one has seen neither


def test_one_that_is_interrupted_again_hands_on_what_it_has_seen(web, capsys, monkeypatch):
    killed(capsys, monkeypatch, 4)
    first = data()
    forget(capsys, web.url("/2"))
    killed(capsys, monkeypatch, 6)
    second = data()
    assert sorted(forget(capsys)) == sorted([(first, True), (second, True)])
    monkeypatch.setattr("stages.training.beginning.MOST_CHANGED", 0.2)
    forget(capsys, web.url("/3"))
    for left in Path("out/med").glob(f"*/checkpoints/{first}/*"):
        left.unlink()
    run(capsys)
    assert (data(), False) in forget(capsys)


def test_above_the_stated_share_it_begins_anew_and_says_so(web, capsys, monkeypatch):
    killed(capsys, monkeypatch, 4)
    first = data()
    forget(capsys, web.url("/2"), web.url("/3"))
    Toy.seen.clear()
    said = run(capsys)
    assert (
        "med: since step 3 of a training before 2 of 10 images have gone and 0 have come (20.000%), more than 10%; "
        "beginning anew" in said
    )
    assert [step for step, _ in Toy.seen] == list(range(1, 7))
    assert forget(capsys) == [(first, True)]


def test_what_a_run_may_go_on_from_is_no_stray(web, capsys, monkeypatch):
    killed(capsys, monkeypatch, 4)
    forget(capsys, web.url("/2"))
    assert clean(Store.open("out"), older_than=timedelta(0), keep=None, dry_run=False).strays == []
    assert len(checkpoints()) == 1


def test_what_is_left_out_is_a_line_of_the_funnel(capsys):
    Path("list.csv").write_text(Path("list.csv").read_text().replace("text of 3", "!").replace("text of 4", "..."))
    said = run(capsys)
    assert "med: left out: 2 image(s) whose captions say nothing" in said
    (row,) = (row for row in plan(capsys) if row["node"] == "med")
    assert row["left_out"] == "left out: 2 wordless of web"
    code, out, _ = capfilt(capsys, "status", "m.yaml")
    assert code == 0
    assert "nothing; left out: 2 wordless of web" in " ".join(out.split())
    assert re.search(r"left out of med: wordless +2", out)
    code, out, err = capfilt(capsys, "query", "m.yaml", "SELECT * FROM left_out", "--json")
    assert json.loads(out) == [{"made_by": "med", "source": "web", "reason": "wordless", "count": 2}], err


def test_a_signal_between_two_steps_leaves_the_next_one(capsys, monkeypatch):
    monkeypatch.setattr(Toy, "on_step", at(1, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    code, _, err = capfilt(capsys, *LOCAL)
    monkeypatch.setattr(Toy, "on_step", None)
    assert code == 143
    assert "trainings leave a checkpoint" in err
    assert "med: stopped at step 2 of 6, where a checkpoint is left" in " ".join(err.split())
    Toy.seen.clear()
    assert "failed" not in run(capsys)
    assert [step for step, _ in Toy.seen] == [3, 4, 5, 6]
