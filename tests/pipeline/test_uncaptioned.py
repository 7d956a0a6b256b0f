"""Images that could not be captioned, and texts that could not be scored: each view tells of them, and of each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.dag.listing import PARTS, listing_table
from pipeline.session import open_session
from pipeline.sql.catalog import connect, query
from stages import tables
from stages.contract import Output, RunOptions, Shard
from stages.select.compute import Select
from stages.select.spec import SelectRecipe
from stages.urls.known import Counted

SHARD = "web-00000-00000"
BROKEN, INFINITE = "cannot be decoded: a header: it is odd", "not finite in float16"
SCORED_NOT = {"rank_error": BROKEN, "filter_error": BROKEN}
WEB: list[dict[str, Any]] = [
    {"key": "fine", "caption": "a cat", "clip_score": 0.3, "itm_score": 0.9},
    {"key": "broken", "caption": "a web text", **SCORED_NOT},
    {"key": "silent", "caption": "", **SCORED_NOT},
    {"key": "overflown", "caption": "kept", "clip_score": 0.2, "itm_score": 0.8},
    {"key": "unjudged", "caption": "a text", "clip_score": 0.2, "filter_error": INFINITE},
    {"key": "noise", "caption": ""},
]
WRITTEN: list[dict[str, Any]] = [
    {"key": "fine", "candidate": 1, "caption": "a dog", "clip_score": 0.4, "filter_error": INFINITE},
    {"key": "broken", "candidate": 0, "caption": "", "error": BROKEN, **SCORED_NOT},
    {"key": "silent", "candidate": 0, "caption": "", "error": BROKEN, **SCORED_NOT},
    {"key": "overflown", "candidate": 0, "caption": "", "error": INFINITE},
    {"key": "unjudged", "candidate": 1, "caption": "noise", "clip_score": 0.2, "itm_score": 0.1},
    {"key": "noise", "candidate": 1, "caption": "noise", "clip_score": 0.2, "itm_score": 0.1},
]
CANDIDATES = [
    *({"writer": "web", "candidate": 0, "origin": "web", **row} for row in WEB),
    *({"writer": "captioner", "origin": "synthetic", **row} for row in WRITTEN),
]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """What is asked of an output whose tables say the above."""
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text("URL,TEXT\nhttp://x/1,a\n")
    Path("m.yaml").write_text("""\
output: out
sources: {web: {format: csv, path: list.csv}}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
filter: {model: nowhere/model}
""")
    session = open_session(Path("m.yaml"))
    folders = {node.step: session.store.folder_of(node) for node in session.graph.nodes.values()}

    def commit(stage: str, table: pa.Table) -> None:
        session.store.commit(folders[stage], SHARD, Output(table), {"stage": stage})

    keys = list(dict.fromkeys(row["key"] for row in CANDIDATES))
    (part,) = session.graph.nodes["urls/web"].parts
    listing = listing_table([Counted(SHARD, len(keys))])
    session.store.commit(f"{folders['urls']}/{PARTS}", part.name, Output(listing), {"stage": "urls"})
    commit("urls", make(tables.URLS, [{"key": key, "source": "web", "url": f"http://x/{key}"} for key in keys]))
    commit("download", make(tables.IMAGES, [{"key": key, "status": "success", "retry": 0} for key in keys]))
    for stage, origin in (("annotate", "web"), ("caption", "synthetic")):
        commit(stage, make(tables.CAPTIONS, [row for row in CANDIDATES if row["origin"] == origin]))
    for stage, schema in (("rank", tables.SIMILARITIES), ("filter", tables.MATCHES)):
        commit(stage, make(schema, [{**row, "error": row.get(f"{stage}_error")} for row in CANDIDATES]))
    roles = {"captions": ("annotate", "caption"), "similarities": ("rank",), "matches": ("filter",)}
    inputs = {
        role: tuple(session.store.artifact(folders[stage], SHARD) for stage in stages) for role, stages in roles.items()
    }
    commit("select", Select(SelectRecipe(), RunOptions())(Shard(inputs, SHARD, tmp_path)).table)
    catalog = connect(session.graph, session.store)
    return lambda sql: query(catalog, sql)[1]


def make(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def test_failures_and_losses_tell_of_each_once(ask):
    assert ask("SELECT stage, key, url, reason, error FROM failures ORDER BY key") == [
        ("caption", "broken", "http://x/broken", "cannot be decoded", BROKEN),
        ("select", "noise", "http://x/noise", "all_below_threshold", "no caption of this image was kept"),
        ("caption", "overflown", "http://x/overflown", INFINITE, INFINITE),
        ("caption", "silent", "http://x/silent", "cannot be decoded", BROKEN),
        ("select", "unjudged", "http://x/unjudged", "unscored", "no caption of this image was kept"),
    ]
    assert ask("SELECT * FROM losses") == [
        ("caption", "web", "cannot be decoded", 2),
        ("caption", "web", INFINITE, 1),
        ("select", "web", "all_below_threshold", 1),
        ("select", "web", "unscored", 1),
    ]


def test_the_funnel_counts_what_has_captions(ask):
    assert dict(ask("SELECT step, count FROM funnel")) == {
        "URLs": 6,
        "images": 6,
        "captioned": 3,
        "kept": 2,
        "captions kept": 2,
    }


def test_images_of_which_nothing_is_kept_say_why(ask):
    assert ask("SELECT key, reason FROM unselected ORDER BY key") == [
        ("broken", "unscored"),
        ("noise", "all_below_threshold"),
        ("silent", "no_text"),
        ("unjudged", "unscored"),
    ]


def test_captions_have_their_error_and_their_reason(ask):
    found = ask("SELECT key, origin, candidate, error, reason, kept FROM captions ORDER BY key, origin DESC")
    assert found == [
        ("broken", "web", 0, BROKEN, "unscored", False),
        ("broken", "synthetic", 0, BROKEN, "empty", False),
        ("fine", "web", 0, None, "kept", True),
        ("fine", "synthetic", 1, INFINITE, "unscored", False),
        ("noise", "web", 0, None, "empty", False),
        ("noise", "synthetic", 1, None, "below_threshold", False),
        ("overflown", "web", 0, None, "kept", True),
        ("overflown", "synthetic", 0, INFINITE, "empty", False),
        ("silent", "web", 0, BROKEN, "empty", False),
        ("silent", "synthetic", 0, BROKEN, "empty", False),
        ("unjudged", "web", 0, INFINITE, "unscored", False),
        ("unjudged", "synthetic", 1, None, "below_threshold", False),
    ]
