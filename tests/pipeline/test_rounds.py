"""Two rounds: a model is trained, captioners and filters are made of it, and of what they keep comes the next one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from picture_web import picture

from pipeline.session import open_session
from pipeline.store import Store
from tests.pipeline.command import capfilt
from tests.pipeline.conftest import ROOT
from tests.pipeline.dag.trainers import CHECKPOINTS, register
from tests.pipeline.test_cli import LOCAL

MANIFEST = f"""\
output: out
sources:
  web: {{format: csv, path: web.csv}}
  people: {{format: coco, path: people.json, images: pictures, splits: [train], use: both}}
  others: {{format: coco, path: people.json, images: pictures, splits: [test], use: measure}}
download: {{allow_addresses: [127.0.0.1], retries: 0}}
med: {{vision: {CHECKPOINTS}/itm, text: {CHECKPOINTS}/itm}}
captioner: {{stage: finetune, task: captioning, init: {{from: med}}, reads: [download, annotate]}}
matcher: {{stage: finetune, task: retrieval, init: {{from: med}}, reads: [download, annotate]}}
evaluate: {{matcher: {{from: matcher}}, matcher_top_k: 10}}
rounds:
  times: 2
  caption: {{model: {{from: captioner}}, candidates: 1}}
  caption_b: {{stage: caption, model: {CHECKPOINTS}/captioner, candidates: 2, seed: 3}}
  filter: {{model: {{from: matcher}}}}
  filter_b: {{stage: filter, model: {CHECKPOINTS}/itm, dtype: bfloat16}}
  select: {{k: null, itm_threshold: 0.2, join: mean}}
  med: {{}}
  captioner: {{}}
  matcher: {{}}
  evaluate: {{}}
"""
STEPS = ["urls", "download", "annotate", "med", "captioner", "matcher", "evaluate"]
ROUND = ["caption", "caption_b", "filter", "filter_b", "select", "med", "captioner", "matcher", "evaluate"]
MODELS = ["med", "captioner", "matcher"]
CANDIDATES = 'SELECT key, writer, candidate, caption, kept, reason, "score_filter@2" FROM captions ORDER BY ALL'


class KilledError(BaseException):
    """Nothing in the program catches it."""


@pytest.fixture
def folder(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    rows = [f"{web.url(f'/{number}')},text {number}" for number in range(1, 5)]
    Path("web.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")
    Path("pictures").mkdir()
    images = []
    for number in range(4):
        Path(f"pictures/{number}.png").write_bytes(picture(number))
        sentences = [{"raw": f"what people said of {number}"}]
        split = "test" if number > 1 else "train"
        images.append({"filename": f"{number}.png", "split": split, "cocoid": number, "sentences": sentences})
    Path("people.json").write_text(json.dumps({"images": images}))
    Path("m.yaml").write_text(MANIFEST)
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], sql: str) -> list[dict[str, Any]]:
    code, out, err = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0, err
    return json.loads(out)


def done(steps: list[str] | None = None) -> Counter[str]:
    """How many shards of every step are done."""
    found = Counter[str]()
    for left in open_session(Path("m.yaml")).plans:
        found[left.node.step] += len(left.done)
    return found


def test_it_goes_on_after_a_kill_in_every_kind_of_step_and_a_captioner_moves_what_reads_it(folder, capsys, monkeypatch):
    killed: set[str] = set()
    land = Store._land

    def die_once(store: Store, url: str, *rest: Any) -> bool:
        stage = url.removeprefix(f"{store.root}/").partition("/")[0]
        if stage not in killed:
            killed.add(stage)
            raise KilledError
        return land(store, url, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_land", die_once)
        runs = 0
        while True:
            runs += 1
            try:
                code, out, err = capfilt(capsys, *LOCAL, "--json")
            except KilledError:
                continue
            break
    assert code == 0, err
    assert killed == {"urls", "download", "annotate", "med", "finetune", "caption", "filter", "select", "evaluate"}
    assert runs == 1 + len(killed)
    assert list(done()) == [*STEPS, *(f"{step}@{number}" for number in (1, 2) for step in ROUND)]
    assert set(done().values()) == {1, 2, 3}
    told_of_rounds(json.loads(out), ask(capsys, "SELECT * FROM round"))
    disturbed = ask(capsys, CANDIDATES)
    # the second round of the captioner that is not trained is the first one again
    assert {row["writer"] for row in disturbed} == {"annotate", "caption@1", "caption@2", "caption_b@2"}
    Path("m.yaml").write_text(MANIFEST.replace("output: out", "output: again"))
    assert capfilt(capsys, *LOCAL)[0] == 0
    assert ask(capsys, CANDIDATES) == disturbed
    before = done()
    Path("m.yaml").write_text(
        MANIFEST.replace("out\n", "again\n").replace("candidates: 2, seed: 3", "candidates: 2, top_p: 0.8")
    )
    now = done()
    assert {step for step in before if not now[step]} == {*before} - {*STEPS, "caption@1"}


def told_of_rounds(outcome: dict[str, Any], kept: list[dict[str, Any]]) -> None:
    """Every round has its own line, also where a step of two rounds did the same and has one result."""
    first, *later = outcome["rounds"]
    assert (first["round"], first["selections"]) == (0, [])
    for number, line in enumerate(later, start=1):
        (selection,) = line["selections"]
        assert (line["round"], selection["step"]) == (number, f"select@{number}")
        counted = Counter(row["origin"] for row in kept if row["round"] == f"select@{number}")
        assert {each["origin"]: each["kept"] for each in selection["origins"]} == {
            origin: counted[origin] for origin in ("web", "synthetic")
        }
        assert counted["human"] == 2
        assert selection["judged"] == selection["rejected"] + counted["web"] + counted["synthetic"]
        assert [each["model"] for each in line["retrieval"]] == ["chance", "matcher_itc", "matcher_itm"]
        assert {each["step"] for each in line["retrieval"]} == {f"evaluate@{number}"}
        assert [each["step"] for each in line["trainings"]] == [f"{name}@{number}" for name in MODELS]
    compared = [(gain["round"], gain["measure"], gain["model"], gain["verdict"]) for gain in outcome["gains"]]
    assert compared == [(number, "retrieval R@1", "matcher_itm", "none") for number in (1, 2)]


PROGRAM = """\
import pytest
from pipeline.cli import main
from tests.pipeline.dag.trainers import register

register(pytest.MonkeyPatch())
main()
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_ray_it_goes_on_after_the_driver_was_killed_in_every_kind_of_step(folder, capsys, ray_home) -> None:
    Path("program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", "run", "m.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start() -> subprocess.Popen[bytes]:
        with Path("log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    killed = set()
    for stage in ("urls", "download", "annotate", "med", "finetune", "caption", "filter", "select"):
        run = start()
        while run.poll() is None and not list(Path("out", stage).glob("*/*.parquet")):
            time.sleep(0.02)
        if run.poll() is None:
            killed.add(stage)
        run.kill()
        run.wait()
    assert len(killed) >= 5, killed  # a run may be quicker than whoever looks
    assert start().wait() == 0, Path("log").read_text()[-3000:]
    disturbed = ask(capsys, CANDIDATES)
    Path("m.yaml").write_text(MANIFEST.replace("output: out", "output: again"))
    assert capfilt(capsys, *LOCAL)[0] == 0
    assert ask(capsys, CANDIDATES) == disturbed
