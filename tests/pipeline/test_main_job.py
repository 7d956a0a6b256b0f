"""What holds over the tables of a whole run into object storage, and what a changed manifest makes run again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline.run import run_session
from pipeline.session import open_session
from pipeline.sql.catalog import connect, query
from pipeline.upkeep.forget import forget
from tests.pipeline.conftest import ROOT

Ask = Callable[[str], list[tuple]]


def asking(session) -> Ask:
    """For the rows of a query over what is there now."""
    catalog = connect(session.graph, session.store)
    return lambda sql: query(catalog, sql)[1]


@pytest.fixture
def session(manifest, s3_folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load(manifest.read_text()) | {"output": s3_folder}
    manifest.write_text(yaml.safe_dump(content, sort_keys=False))
    session = open_session(manifest)
    outcome = run_session(session, executor="local", address=None, console=Console(quiet=True))
    assert outcome["failed"] == []
    assert outcome["blocked"] == {}
    return session


def test_the_tables_of_a_whole_run(session, manifest):
    rows = asking(session)

    def none(sql: str) -> None:
        assert rows(sql) == [], sql

    none("SELECT key FROM urls LEFT JOIN images USING (key) GROUP BY key HAVING count(images.status) <> 1")
    none("SELECT key FROM images ANTI JOIN urls USING (key)")
    web = "(SELECT * FROM captions WHERE source = 'web')"
    synthetic = "count(*) FILTER (candidate BETWEEN 1 AND 10 AND origin = 'synthetic')"
    none(f"SELECT key FROM {web} GROUP BY key HAVING count(*) <> 11 OR {synthetic} <> 10 OR min(candidate) <> 0")
    none(f"SELECT key FROM images ANTI JOIN {web} USING (key) WHERE status = 'success' AND source = 'web'")
    scored = "isfinite(clip_score) AND abs(clip_score) <= 1 AND isfinite(itm_score) AND itm_score BETWEEN 0 AND 1"
    none(f"SELECT * FROM {web} WHERE caption <> '' AND NOT coalesce({scored}, false)")
    none(f"SELECT * FROM {web} WHERE caption = '' AND (kept OR clip_score IS NOT NULL OR itm_score IS NOT NULL)")
    too_many = "count(*) > 2 OR count(DISTINCT caption) < count(*)"
    none(f"SELECT key FROM corpus WHERE source = 'web' GROUP BY key HAVING {too_many}")
    none(f"SELECT * FROM {web} WHERE kept AND itm_score < 0.5")
    better = "other.clip_score > kept.clip_score AND other.itm_score >= 0.5 AND other.reason = 'outranked'"
    none(f"SELECT * FROM {web} kept JOIN {web} other USING (key) WHERE kept.kept AND {better}")
    assert rows("SELECT count(*) > 0 FROM evaluation WHERE r1_image_to_text IS NOT NULL") == [(True,)]
    shown = "k IN (1, 5, 10) AND recall BETWEEN 0 AND 1 AND source = 'human_test'"
    assert rows(f"SELECT count(*), count(*) FILTER ({shown}) FROM retrieval") == [(30, 30)]
    none("SELECT * FROM corpus WHERE source = 'human_test'")
    changed_stages(manifest)
    forgotten(session, rows)


def changed_stages(manifest: Path) -> None:
    """Another threshold reruns select and what learns from it; another ranker leaves the captions alone."""
    content = yaml.safe_load(manifest.read_text())

    def left(**changes: dict) -> set[str]:
        changed = manifest.with_name("changed.yaml")
        changed.write_text(yaml.safe_dump(json.loads(json.dumps(content | changes)), sort_keys=False))
        return {plan.node.name for plan in open_session(changed).plans if not plan.is_done}

    assert left() == set()
    human_and_web = {"select/web", "select/human", "pretrain", "evaluate"}
    assert left(select=content["select"] | {"itm_threshold": 0.9}) == human_and_web
    assert left(rank=content["rank"] | {"dtype": "bfloat16"}) == {"rank/web", "select/web", "pretrain", "evaluate"}
    assert left(evaluate=content["evaluate"] | {"top_k": 11}) == {"evaluate"}
    assert left(caption=content["caption"] | {"run": {"batch_size": 3}}) == set()


def forgotten(session, rows: Ask) -> None:
    """An image that is to be forgotten leaves every table that has its key."""
    [(key, url)] = rows("SELECT key, url FROM corpus WHERE source = 'web' ORDER BY key LIMIT 1")
    others = rows(f"SELECT * FROM captions WHERE key <> '{key}' ORDER BY key, candidate")
    removal_list = f"{session.store.root}/list.txt"
    assert forget(session.store, removal_list, [url]).images == 1
    rows = asking(session)
    assert rows(f"SELECT status, text FROM images WHERE key = '{key}'") == [("removed", None)]
    for view in ("captions", "raw_captions", "raw_rank", "raw_filter", "raw_select", "corpus"):
        assert rows(f"SELECT * FROM {view} WHERE key = '{key}'") == []
    assert rows("SELECT * FROM captions ORDER BY key, candidate") == others
    assert rows(f"SELECT stage, reason FROM failures WHERE key = '{key}'") == [("download", "removed")]
