"""Several captioners and filters: scores joined by weights that were fitted on people's texts, and common texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from numpy.typing import NDArray
from picture_web import picture
from PIL import Image
from scipy.special import expit, logit
from torch import Tensor

from pipeline.session import open_session
from stages.models.family import Caption
from stages.training.order import mix
from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT
from tests.pipeline.test_cli import LOCAL

MODELS = ROOT / "stages/demo/checkpoints"
SELECT = {"k": 1, "itm_threshold": 0.5, "join": "fitted"}


def describe(name: str, numbers: Iterable[int]) -> None:
    """A list of pictures that people have described, each in two ways."""
    images = []
    for number in numbers:
        Path(f"pictures/{number}.png").write_bytes(picture(number))
        sentences = [{"raw": f"what one said of {number}"}, {"raw": f"what another said of {number}"}]
        images.append({"filename": f"{number}.png", "split": "train", "cocoid": number, "sentences": sentences})
    Path(f"{name}.json").write_text(json.dumps({"images": images}))


def write_manifest(select: dict[str, Any], **others: Any) -> None:
    people = {"format": "coco", "images": "pictures"}
    content = {
        "output": "out",
        "removed": "removed.txt",
        "sources": {
            "both": {**people, "path": "both.json", "use": "both"},
            "pairs": {**people, "path": "pairs.json"},
        },
        "urls": {"shard_size": 6},
        "shuffle": {},
        "caption": {"model": str(MODELS / "captioner"), "candidates": 2},
        "rank": {"model": str(MODELS / "clip")},
        "filter": {"model": str(MODELS / "itm"), "pairs": True},
        "second": {"stage": "filter", "model": str(MODELS / "itm"), "dtype": "bfloat16", "pairs": True},
        "weigh": {},
        "repeats": {"most": 1},
        "select": select,
    }
    Path("m.yaml").write_text(yaml.safe_dump({**content, **others}, sort_keys=False))


class Chance:
    """In place of every model: it says of a picture and a text what chance says of the two, the same every time."""

    def __init__(self, name: Any, *settings: Any) -> None:
        self._name = str([name, *settings[:2]])

    def preprocess(self, image: Image.Image) -> Tensor:
        return torch.full((3, 1, 1), float(mix(image.tobytes().hex()) % 1000))

    def prepare(self, text: str) -> str:
        return text

    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        seen = [int(image[0, 0, 0]) for image in pixels]
        return [[mix(self._name, at, text) / 2**63 for text in own] for at, own in zip(seen, texts, strict=True)]

    def caption(self, pixels: Tensor, uniforms: NDArray[np.float64]) -> list[list[Caption] | None]:
        return [[Caption(f"a  picture {int(5 * row[0])}", -1.0) for row in of_image] for of_image in uniforms]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("stages.score.compute.load_scorer", Chance)
    monkeypatch.setattr("stages.models.families.load_captioner", Chance)
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    Path("removed.txt").touch()
    describe("both", range(6))
    describe("pairs", range(6, 18))
    write_manifest(SELECT)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    code, out, err = capfilt(capsys, *LOCAL, "--json", *more)
    assert code == 0, err
    return json.loads(out)


def ask(capsys: pytest.CaptureFixture[str], sql: str) -> list[dict[str, Any]]:
    code, out, err = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0, err
    return json.loads(out)


def left() -> set[str]:
    """The steps that have something to do."""
    return {plan.node.step for plan in open_session(Path("m.yaml")).plans if not plan.is_done}


def attempts(stage: str) -> dict[str, int]:
    """When each table of a stage was written."""
    return {str(path): path.stat().st_mtime_ns for path in Path("out", stage).glob("*/*.parquet")}


def test_two_filters_are_joined_by_weights_that_people_s_texts_give(folder, capsys):
    funnel = {(row["source"], row["step"]): row["count"] for row in run(capsys)["funnel"]}
    assert funnel["both", "captioned"] == funnel["both", "kept"] == 6
    assert funnel["pairs", "captioned"] == funnel["pairs", "kept"] == 12
    assert ask(capsys, "SELECT * FROM losses") == []
    check_shuffled(ask(capsys, "SELECT * FROM captions"))
    check_joined(ask(capsys, "SELECT * FROM captions WHERE origin = 'synthetic'"), ask(capsys, "FROM weights"))
    check_common(ask(capsys, "SELECT lower(caption) AS text, reason FROM captions WHERE origin = 'synthetic'"))

    write_manifest(SELECT | {"k": 2, "itm_threshold": 0.1, "length_penalty": 0.01, "per_writer": 1})
    assert left() == {"select"}
    write_manifest(SELECT | {"join": "mean"}, weigh=None)
    assert left() == {"select"}


def check_shuffled(rows: list[dict[str, Any]]) -> None:
    shuffled = [row for row in rows if row["origin"] == "shuffled"]
    assert len(shuffled) == 18
    assert all((row["reason"], row["kept"], row["rank"]) == ("shuffled", False, None) for row in shuffled)
    for row in shuffled:
        own = {other["caption"] for other in rows if other["key"] == row["key"] and other["origin"] == "human"}
        others = {other["caption"] for other in rows if other["source"] == row["source"] and other["origin"] == "human"}
        assert row["caption"] in others - own
        assert row["score_filter"] is not None
        assert row["score_second"] is not None


def check_joined(written: list[dict[str, Any]], weights: list[dict[str, Any]]) -> None:
    """The weights are those of the filters by their names, and every verdict is that of the joined probability."""
    assert [row["filter"] for row in weights] == ["intercept", "filter", "second"]
    assert {row["own_texts"] + row["shuffled_texts"] + row["held_out_texts"] for row in weights} == {3 * 18}
    intercept, *slopes = (row["weight"] for row in weights)
    for row in written:
        scores = np.clip([row["score_filter"], row["score_second"]], 1e-6, 1 - 1e-6)
        passes = expit(intercept + logit(scores) @ slopes) >= 0.5
        assert row["reason"] in ({"kept", "outranked", "duplicate", "common"} if passes else NOISE)


NOISE = {"below_threshold", "duplicate"}


def check_common(rows: list[dict[str, Any]]) -> None:
    """No text is kept of more images than one."""
    kept = [row["text"] for row in rows if row["reason"] == "kept"]
    assert len(kept) == len(set(kept))


@pytest.mark.slow
def test_weights_are_kept_when_rows_come_or_go_until_somebody_asks_for_others(folder, capsys):
    pairs = {"format": "coco", "images": "pictures", "path": "pairs.json"}
    others = dict.fromkeys(("caption", "rank", "repeats"))
    write_manifest({"k": None, "join": "fitted"}, sources={"pairs": pairs}, **others)
    run(capsys)
    before, selected = ask(capsys, "FROM weights"), attempts("select")
    describe("pairs", range(6, 24))
    run(capsys)
    assert ask(capsys, "FROM weights") == before
    assert selected.items() <= attempts("select").items()  # no shard that was there is selected from anew
    code, out, err = capfilt(capsys, "status", "m.yaml", "--json")
    assert code == 0, err
    (stale,) = [row["stale"] for row in json.loads(out)["stages"] if row["stale"]]
    assert stale == "stale: other rows of pairs count now; `--refresh weigh` trains it anew"
    run(capsys, "--refresh", "weigh")
    now = ask(capsys, "FROM weights")
    assert {row["own_texts"] + row["shuffled_texts"] + row["held_out_texts"] for row in now} == {3 * 18}
    assert left() == set()
    assert len(ask(capsys, "FROM corpus WHERE source = 'pairs'")) == 36
    check_forgotten(capsys, "said of 7")


def check_forgotten(capsys: pytest.CaptureFixture[str], ending: str) -> None:
    """What people said of a forgotten image goes where another image was given it, too; what filters said stays."""
    rows = ask(capsys, "SELECT * FROM captions")
    (given,) = [row for row in rows if row["origin"] == "shuffled" and row["caption"].endswith(ending)]
    (image,) = {row["key"] for row in rows if row["origin"] == "human" and row["caption"].endswith(ending)}
    (digest,) = [row["sha256"] for row in ask(capsys, f"SELECT sha256 FROM images WHERE key = '{image}'")]
    code, out, err = capfilt(capsys, "forget", "m.yaml", digest)
    assert code == 0, err
    assert "--refresh weigh" in out + err
    assert not any(ending in str(pq.read_table(path).to_pydict()) for path in Path("out").rglob("*.parquet"))
    (now,) = ask(capsys, f"SELECT * FROM captions WHERE key = '{given['key']}' AND origin = 'shuffled'")
    assert (now["caption"], now["score_filter"], now["reason"]) == ("", given["score_filter"], "shuffled")
    run(capsys)
    assert image not in {row["key"] for row in ask(capsys, "FROM captions")}
    assert ask(capsys, "SELECT stage, reason FROM losses") == [{"stage": "download", "reason": "removed"}]
