"""A model whose data has changed since it was trained: it stays, status says so, and `--refresh` trains it anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from picture_web import Web, picture

from pipeline.session import open_output
from tests.pipeline.command import capfilt
from tests.pipeline.dag.trainers import CHECKPOINTS, register
from tests.pipeline.test_cli import LOCAL

MANIFEST = f"""\
output: out
removed: removed.txt
sources:
  web: {{format: csv, path: lists/*.csv}}
  people: {{format: coco, path: people.json, images: pictures}}
download: {{allow_addresses: [127.0.0.1], retries: 0}}
med: {{vision: {CHECKPOINTS}/itm, text: {CHECKPOINTS}/itm}}
captioner: {{stage: finetune, task: captioning, init: {{from: med}}}}
caption: {{model: {{from: captioner}}, candidates: 1}}
select: {{k: null, itm_threshold: null}}
"""
MODELS = ["med", "captioner"]


@pytest.fixture
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run of it all, with one image that did not come."""
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("lists").mkdir()
    Path("pictures").mkdir()
    Path("removed.txt").touch()
    Path("pictures/0.png").write_bytes(picture(0))
    said = {"filename": "0.png", "split": "train", "cocoid": 0, "sentences": [{"raw": "what people said"}]}
    Path("people.json").write_text(json.dumps({"images": [said]}))
    Path("m.yaml").write_text(MANIFEST)
    write(web, "a", range(1, 4))
    web.down.add("/3")
    assert run(capsys)["shards_done"]
    return tmp_path


def write(web: Web, name: str, numbers: Iterable[int]) -> None:
    rows = [f"{web.url(f'/{number}')},text of {number}" for number in numbers]
    Path(f"lists/{name}.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")


def run(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    code, out, err = capfilt(capsys, *LOCAL, "--json", *more)
    assert code == 0, err
    return json.loads(out)


def models() -> dict[str, bytes]:
    """All files of all models."""
    return {
        str(path): path.read_bytes()
        for stage in ("med", "finetune")
        for path in sorted(Path("out", stage).rglob("*"))
        if path.is_file()
    }


def trained() -> dict[str, int]:
    """How many models there are, by stage."""
    return {stage: len(list(Path("out", stage).glob("*/*.parquet"))) for stage in ("med", "finetune", "caption")}


def versions() -> dict[str, str]:
    """What the readers of every model know it by."""
    return {node.step: node.version for node in open_output("m.yaml").graph.nodes.values() if node.is_model}


def stale(capsys: pytest.CaptureFixture[str], command: str = "status") -> dict[str, str]:
    """What is said of the models that are stale."""
    code, out, err = capfilt(capsys, command, "m.yaml", "--json")
    assert code == 0, err
    rows = json.loads(out)["stages"] if command == "status" else json.loads(out)
    return {row["node"]: row["stale"] for row in rows if row["stale"]}


SAID = "stale: other rows of {} count now; `--refresh {}` trains it anew"
WEB = SAID.format("web", "med")


def test_a_model_stays_when_its_data_grows_and_refresh_trains_it_anew_with_all_that_follows(folder, web, capsys):
    assert stale(capsys) == {}
    assert trained() == {"med": 1, "finetune": 1, "caption": 1}
    first, before = versions(), models()

    write(web, "b", [4, 5])
    assert run(capsys)["shards_done"]
    assert versions() == first
    assert models() == before
    assert trained()["caption"] == 2  # by the captioner that is there
    assert stale(capsys) == stale(capsys, "plan") == {"med": WEB}
    shown = " ".join(capfilt(capsys, "status", "m.yaml")[1].split())
    assert WEB in shown
    assert run(capsys)["shards_done"] == 0

    assert run(capsys, "--refresh", "med")["shards_done"] == 2 + 2 + 2  # models, captions, selections
    assert stale(capsys) == {}
    assert trained() == {"med": 2, "finetune": 2, "caption": 4}
    now = versions()
    fingerprint, old = first["med"].split("/")
    assert now["med"].split("/") == [fingerprint, open_output("m.yaml").graph.nodes["med"].rows_now]
    assert now["med"].split("/")[1] != old
    assert now["captioner"].split("/")[0] != first["captioner"].split("/")[0]
    assert models().items() >= before.items()
    assert run(capsys)["shards_done"] == 0
    assert run(capsys, "--refresh", "med")["shards_done"] == 0  # its data is what it was


def test_what_people_wrote_stales_both_and_one_may_be_refreshed_alone(folder, capsys):
    first = versions()
    content = json.loads(Path("people.json").read_text())
    content["images"][0]["sentences"].append({"raw": "what others said"})
    Path("people.json").write_text(json.dumps(content))
    run(capsys)
    assert versions() == first
    assert stale(capsys) == {step: SAID.format("people", step) for step in MODELS}
    run(capsys, "--refresh", "captioner")
    now = versions()
    assert now["med"] == first["med"]
    assert now["captioner"].split("/")[0] == first["captioner"].split("/")[0]
    assert now["captioner"] != first["captioner"]
    assert stale(capsys) == {"med": SAID.format("people", "med")}


def test_retry_deletes_no_model_and_what_it_brings_makes_it_stale(folder, web, capsys):
    first, before = versions(), models()
    web.down.clear()
    code, _, err = capfilt(capsys, "retry", "m.yaml", *LOCAL[2:])
    assert code == 0, err
    assert "1 rows of 1 shards are tried again" in err
    assert (versions(), models()) == (first, before)
    assert stale(capsys) == {"med": WEB}
    assert run(capsys)["shards_done"] == 0
    assert models() == before
    run(capsys, "--refresh", "med")
    assert versions()["med"] != first["med"]
    assert stale(capsys) == {}


def forget(capsys: pytest.CaptureFixture[str], *entries: str) -> list[dict[str, Any]]:
    """The models that are told when images are forgotten."""
    code, out, err = capfilt(capsys, "forget", "m.yaml", *entries, "--json")
    assert code == 0, err
    return json.loads(out)["models"]


def place_of(version: str) -> str:
    """Where a model lies."""
    fingerprint, data = version.split("/")
    (found,) = Path("out").glob(f"*/{fingerprint}/{data}.*.checkpoint")
    return str(found.absolute())


def test_forget_deletes_no_model_and_tells_those_that_saw_the_image_until_they_are_trained_anew(folder, web, capsys):
    first, before = versions(), models()
    med, captioner = (place_of(first[step]) for step in MODELS)
    seen = {"model": med, "step": "med", "began": False, "unfinished": False}
    heir = {"model": captioner, "step": "med", "began": True, "unfinished": False}
    assert forget(capsys, web.url("/3"), web.url("/none")) == []  # it never came
    assert stale(capsys) == {}
    assert forget(capsys, web.url("/2")) == [seen, heir]
    said = " ".join(capfilt(capsys, "forget", "m.yaml")[1].split())
    anew = "`capfilt run --refresh med` trains it anew without them"
    assert f"this model was trained on forgotten images, and keeps what it learned: {med}; {anew}" in said
    assert (
        f"this model began with one that was trained on forgotten images, and keeps what it learned: {captioner};"
        in said
    )
    assert stale(capsys) == stale(capsys, "plan") == {"med": WEB}
    assert run(capsys)["shards_done"] == 0
    assert models() == before

    run(capsys, "--refresh", "med")
    assert stale(capsys) == {}
    assert models().items() >= before.items()
    old = [{**seen, "step": ""}, {**heir, "step": ""}]
    assert forget(capsys) == old  # those that lie there still; the new ones have not seen it
    stem = Path(med).parent / Path(med).name.partition(".")[0]
    unread = f"no manifest's latest run reads it, so delete {stem}.* and {stem.parent}/checkpoints/{stem.name}"
    assert unread in capfilt(capsys, "forget", "m.yaml")[1]

    write(web, "a", range(1, 5))  # the list of the image grows, and its new listing knows of it
    run(capsys, "--refresh", "med")
    assert forget(capsys) == old
    assert len(forget(capsys, web.url("/4"))) == 4
    assert trained()["med"] == 3
    assert stale(capsys) == {"med": WEB}


def test_what_a_run_forgets_no_model_of_it_is_trained_on(folder, web, capsys):
    med = place_of(versions()["med"])
    Path("removed.txt").write_text(f"{web.url('/1')}\n")
    code, _, err = capfilt(capsys, *LOCAL, "--refresh", "med")
    assert code == 0, err
    assert f"keeps what it learned: {med}; `capfilt run --refresh med`" in err
    assert stale(capsys) == {}
    assert trained()["med"] == 2
    assert [model["step"] for model in forget(capsys)] == ["", ""]
    assert run(capsys)["shards_done"] == 0


@pytest.mark.parametrize("step", MODELS)
def test_a_damaged_model_does_not_keep_an_image_where_it_is(folder, web, capsys, step):
    found = versions()
    (history,) = Path("out").glob(f"*/{found[step]}.parquet")
    whole = history.read_bytes()
    history.write_bytes(whole[: len(whole) // 2])
    code, out, err = capfilt(capsys, "forget", "m.yaml", web.url("/2"), "--json")
    assert code == 1, err
    assert f"{history.absolute()} is damaged (" in " ".join(json.loads(out)["failed"].values())
    assert json.loads(out)["images"] == 1
    history.write_bytes(whole)
    assert [model["model"] for model in forget(capsys)] == [place_of(found[each]) for each in MODELS]


def test_a_model_whose_shard_has_no_such_row_is_not_told(folder, web, capsys):
    write(web, "b", [4, 5])
    run(capsys)
    assert forget(capsys, web.url("/4")) == []  # the model is of the time before
    assert forget(capsys, web.url("/1"))


@pytest.mark.parametrize("step", ["nothing", "caption", "med@2"])
def test_only_a_model_can_be_refreshed(folder, capsys, step):
    before = models()
    code, _, err = capfilt(capsys, *LOCAL, "--refresh", step)
    assert code == 2
    assert f"--refresh {step}: there is no such model; those that are trained: med, captioner" in " ".join(err.split())
    assert models() == before


def test_a_model_that_a_retry_trains_first_is_not_stale(folder, web, capsys):
    Path("m.yaml").write_text(MANIFEST.replace("output: out", "output: again"))
    assert run(capsys, "--until", "download")
    web.down.clear()
    code, _, err = capfilt(capsys, "retry", "m.yaml", *LOCAL[2:])
    assert code == 0, err
    assert stale(capsys) == {}
    assert run(capsys)["shards_done"] == 0
    assert stale(capsys) == {}


def test_what_an_interrupted_training_has_left_is_told_until_it_is_deleted(folder, web, capsys):
    (fingerprint, data) = versions()["med"].split("/")
    (history,) = Path("out/med").glob(f"{fingerprint}/{data}.parquet")
    for path in history.parent.glob(f"{data}.*"):
        path.rename(folder / path.name)  # as if it had not come to its end
    left = history.parent / "checkpoints" / data
    (left / "step-00000004.pt").write_text("what it has learned")
    told = {"model": str(left.absolute()), "step": "", "began": False, "unfinished": True}
    assert told not in forget(capsys, web.url("/none"))
    assert told in forget(capsys, web.url("/2"))
    said = " ".join(capfilt(capsys, "forget", "m.yaml")[1].split())
    assert f"may have learned of forgotten images, and keeps that in its checkpoints: {told['model']};" in said
    run(capsys)  # trains anew, without the image, and leaves checkpoints that are none of its
    new = history.parent / "checkpoints" / versions()["med"].split("/")[1]
    assert new != left
    (path,) = history.parent.glob(f"{new.name}.parquet")
    path.rename(folder / path.name)
    assert [model["model"] for model in forget(capsys) if model["unfinished"]] == [told["model"]]
    shutil.rmtree(left)
    assert not any(model["unfinished"] for model in forget(capsys))
