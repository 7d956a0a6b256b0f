"""Two rounds of bootstrapping with the real trainings, on a world of a few pictures, and what is done anew after."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.session import open_session
from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT, free_port

TINY = {
    "demo": {"images": 12, "human": 16, "measured": 10},
    "med": {
        "epochs": 1,
        "batch_size": 16,
        "queue": 32,
        "layers": 1,
        "width": 32,
        "projection": 8,
        "warmup": 1,
        "run.threads": 1,
    },
    "captioner": {"epochs": 1, "batch_size": 16, "run.threads": 1},
    "matcher": {"epochs": 1, "batch_size": 16, "queue": 32, "run.threads": 1},
    "evaluate": {"matcher_top_k": 10},
    "download": {"image_size": 64},
    "rounds": {"times": 2},
}
LEFT_OUT = ("pretrained", "rounds.pretrained")
"""What measures as `evaluate` does."""


def changes(folder: Path, port: int) -> list[str]:
    """What makes the manifest of one round on a whole evening one of two rounds in seconds."""
    world, human = folder / "world", folder / "world/human"
    places = {
        "output": folder / "out",
        "demo.folder": world,
        "demo.port": port,
        "sources.web.path": world / "laion.parquet",
        **{f"sources.{name}.path": human / "dataset_coco.json" for name in ("human", "human_test")},
        **{f"sources.{name}.images": human for name in ("human", "human_test")},
    }
    sizes = {f"{step}.{key}": value for step, own in TINY.items() for key, value in own.items()}
    rounds = {"rounds.med.epochs": 1, "rounds.select.itm_threshold": 0.01}
    left_out = dict.fromkeys(LEFT_OUT, "null")
    return [f"{key}={value}" for key, value in (places | sizes | rounds | left_out).items()]


@pytest.fixture
def sets(tmp_path: Path, own_scratch: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(ROOT)
    return changes(tmp_path, free_port())


def options(sets: list[str]) -> list[str]:
    return [word for change in sets for word in ("--set", change)]


def to_do(*sets: str) -> set[str]:
    """The nodes that a run would work."""
    plans = open_session(Path("manifests/bootstrap.yaml"), changes=sets, write=False).plans
    return {plan.node.name for plan in plans if not plan.is_done}


def test_two_rounds_are_made_measured_and_selected_anew_without_a_model(sets, capsys, tmp_path):
    run = ("run", "manifests/bootstrap.yaml", "--executor", "local", *options(sets))
    code, _, err = capfilt(capsys, *run)
    assert code == 0, err
    assert to_do(*sets) == set()
    asked = "SELECT made_by, count(*) AS rows FROM training GROUP BY made_by"
    _, out, _ = capfilt(capsys, "query", "manifests/bootstrap.yaml", asked, "--json", *options(sets))
    trained = {row["made_by"] for row in json.loads(out)}
    assert trained == {f"{step}{number}" for step in ("med", "captioner", "matcher") for number in ("", "@1", "@2")}
    asked = "SELECT DISTINCT made_by FROM retrieval"
    _, out, _ = capfilt(capsys, "query", "manifests/bootstrap.yaml", asked, "--json", *options(sets))
    measured = {row["made_by"] for row in json.loads(out)}
    assert measured == {"evaluate", "evaluate@1", "evaluate@2"}

    follows = {"select@2/web", "select@2/human", "med@2", "captioner@2", "matcher@2"}
    follows |= {"evaluate@2", "predict@2/human_test"}
    first = to_do(*sets, "rounds.select.itm_threshold=0.9")
    assert {"select@1/web", "med@1", *follows} <= first
    assert not {"med", "captioner", "matcher", "caption@1/web", "filter@1/web"} & first

    shutil.rmtree(tmp_path / "out/select")  # as if the last runs had died there
    assert capfilt(capsys, *run)[0] == 0
    assert to_do(*sets) == set()
