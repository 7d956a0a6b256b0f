"""What was measured of a forgotten image leaves the tables that are of all images at once."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from picture_web import picture

from pipeline.session import Session, open_session
from stages.contract import Output
from stages.kinds import KINDS
from tests.pipeline.command import capfilt
from tests.pipeline.test_cli import LOCAL

MANIFEST = """\
output: out
removed: removed.txt
sources: {test: {format: coco, path: people.json, images: pictures, splits: [test], use: measure}}
evaluate: {matcher: a/matcher}
predict: {model: a/captioner}
evaluate_captions: {}
"""


def test_its_rows_leave_and_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    for number in range(3):
        Path(f"pictures/{number}.png").write_bytes(picture(number))
    images = [
        {"filename": f"{number}.png", "split": "test", "cocoid": number, "sentences": [{"raw": f"text {number}"}]}
        for number in range(3)
    ]
    Path("people.json").write_text(json.dumps({"images": images}))
    Path("m.yaml").write_text(MANIFEST)
    Path("removed.txt").touch()
    assert capfilt(capsys, *LOCAL, "--until", "download")[0] == 0
    session = open_session(Path("m.yaml"))
    (listed,) = Path("out/download").glob("*/*.parquet")
    first, *others = pq.read_table(listed).to_pylist()
    keys = [row["key"] for row in (first, *others)]
    ranks = [query(key, number, direction) for number, key in enumerate(keys) for direction in (0, 1)]
    values = [{**CIDER, "key": key, "value": 1.0} for key in (*keys, None)]
    stored = {
        step: commit(session, step, rows) for step, rows in {"evaluate": ranks, "evaluate_captions": values}.items()
    }
    code, out, err = capfilt(capsys, "forget", "m.yaml", first["sha256"], "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 1
    for step, before in stored.items():
        (path,) = Path("out", step).glob("*/*.parquet")
        left = pq.read_table(path).to_pylist()
        assert left == [row for row in before if row["key"] != first["key"]]
        assert len(left) == len(before) * 2 // 3 + (step == "evaluate_captions")
    undone = {plan.node.name for plan in open_session(Path("m.yaml")).plans if not plan.is_done}
    assert {"evaluate", "evaluate_captions"} <= undone  # what is of the whole set is computed anew


CIDER = {"source": "test", "subset": "all", "measure": "CIDEr-D", "images": 1, "texts": 1}


def query(key: str, number: int, direction: int) -> dict:
    """A query of the image, or of its one text."""
    row = {"source": "test", "model": "matcher_itm", "key": key, "rank": number + 1, "right": 1}
    return {**row, "direction": ("image_to_text", "text_to_image")[direction], "text": number if direction else None}


def commit(session: Session, step: str, rows: list[dict]) -> list[dict]:
    """Leave the result of a step as if it had been computed."""
    node = session.graph.nodes[step]
    place = session.store.folder_of(node)
    session.store.record_recipe(place, {"source": None, "identity": node.identity})
    table = pa.Table.from_pylist(rows, KINDS[node.spec.writes].schema)
    session.store.commit(place, node.whole, Output(table), {"stage": node.spec.name})
    return table.to_pylist()
