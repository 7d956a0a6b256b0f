"""What a command says of rounds: a line each, and whether one is better than the one before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.dag.graph import Graph
from pipeline.session import graph_alone
from pipeline.sql.catalog import Catalog
from pipeline.sql.measures import MEASURES
from pipeline.sql.steps import rounds_of, steps_view
from pipeline.store import Store
from pipeline.watch.console import Console
from pipeline.watch.gains import in_words
from pipeline.watch.rounds import print_rounds, rounds
from stages.evaluate.tables import CAPTIONING, RANKS
from stages.metrics.bootstrap import Share, paired_difference
from stages.pretrain.tables import METRICS
from stages.tables import SELECTION, TRAINING

IMAGES = 120
HUMAN = "format: coco, path: a.json, images: a"
MANIFEST = f"""\
output: out
sources:
  web: {{format: csv, path: a.csv}}
  coco: {{{HUMAN}, splits: [train]}}
  test: {{{HUMAN}, splits: [test], use: measure}}
caption: {{model: a/captioner}}
filter: {{model: a/matcher}}
select: {{k: null}}
evaluate: {{matcher: a/matcher}}
predict: {{model: a/captioner}}
evaluate_captions: {{}}
rounds:
  times: 2
  caption: {{seed: 1}}
  filter: {{}}
  select: {{}}
  evaluate: {{matcher: b/matcher}}
  predict: {{repetition_penalty: 1.1}}
  evaluate_captions: {{}}
pretrain: {{model: a/tower}}
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Graph:
    """The two rounds' captions, and what follows from them, are the same; their retrieval is that of other models."""
    path: Path = tmp_path_factory.mktemp("rounds") / "m.yaml"
    path.write_text(MANIFEST)
    nodes = graph_alone(path)[0].nodes
    return Graph({name: replace(node, data=name) if "evaluate@" in name else node for name, node in nodes.items()})


def hits(number: int, share: float) -> list[bool]:
    """Which images a model finds, most of them those that any model finds."""
    rng = np.random.default_rng(number)
    return (np.random.default_rng(9).random(IMAGES) + rng.normal(0, 0.05, IMAGES) < share).tolist()


FOUND = {"evaluate": hits(1, 0.3), "evaluate@1": hits(2, 0.55), "evaluate@2": hits(3, 0.56)}


def ranks(made_by: str) -> list[dict]:
    rows = []
    for image, is_hit in enumerate(FOUND[made_by]):
        row = {"source": "test", "model": "matcher_itm", "key": f"test-{image}", "right": 1, "made_by": made_by}
        rows.append({**row, "direction": "image_to_text", "text": None, "rank": 1 if is_hit else 7, "right": 2})
        for text in (2 * image, 2 * image + 1):
            rank = 1 if is_hit and text % 3 else None
            rows.append({**row, "direction": "text_to_image", "text": text, "rank": rank})
    return rows


def cider(made_by: str, shift: float) -> list[dict]:
    rng = np.random.default_rng(5)
    values = {f"test-{image}": value + shift for image, value in enumerate(rng.random(IMAGES).tolist())}
    row = {"source": "test", "subset": "all", "measure": "CIDEr-D", "texts": 1, "made_by": made_by}
    single = [{**row, "key": key, "value": value, "images": 1} for key, value in values.items()]
    return [*single, {**row, "key": None, "value": sum(values.values()) / IMAGES, "images": IMAGES}]


@pytest.fixture(scope="module")
def catalog(graph) -> Catalog:
    """The tables of all steps as far as the report asks for them."""
    connection = duckdb.connect()

    def register(name: str, schema: pa.Schema, rows: list[dict]) -> None:
        more = {"made_by", "source"} - set(schema.names)
        table = pa.Table.from_pylist(rows, schema=pa.schema([*schema, *((name, pa.string()) for name in sorted(more))]))
        shard = pa.array(["all"] * len(table))
        connection.register(name, table if "shard" in table.column_names else table.append_column("shard", shard))

    row = {"key": "web-0", "writer": "w", "source": "web", "rank": None}
    verdicts = {"select": [(0, False), (1, True), (2, True), (3, False)], "select@2": [(0, True), (1, False)]}
    chosen = [
        {**row, "candidate": at, "kept": kept, "reason": "kept" if kept else "below_threshold", "made_by": step}
        for step, found in verdicts.items()
        for at, kept in found
    ]
    register("raw_select", SELECTION, chosen)
    register("ranks", RANKS, [row for step in FOUND for row in ranks(step)])
    register("raw_captioning", CAPTIONING, [*cider("evaluate_captions", 0), *cider("evaluate_captions@2", -0.1)])
    register("training", TRAINING, [])
    losses = [{"phase": "train", "step": step, "epochs": {}, "loss": 3.0 / step, "itc": 1.0} for step in (1, 2)]
    register("pretraining", METRICS, [{**row, "made_by": "pretrain"} for row in losses])
    for name, sql in {"steps": steps_view(graph), **MEASURES}.items():
        if name != "diversity":
            connection.sql(f"CREATE VIEW {name} AS {sql}")
    return Catalog(connection, Store.open("out"), ())


@pytest.fixture(scope="module")
def found(graph, catalog) -> dict:
    return rounds(graph, catalog)


def test_steps_know_their_round(graph, catalog):
    numbers = rounds_of(graph)
    assert [numbers[f"select{end}"] for end in ("", "@1", "@2")] == [0, 1, 2]
    assert (numbers["urls"], numbers["pretrain"]) == (0, None)
    rows = catalog.connection.sql("SELECT step, made_by FROM steps WHERE stage = 'select' AND source = 'web'")
    assert rows.fetchall() == [("select", "select"), ("select@1", "select@2"), ("select@2", "select@2")]


def test_every_round_has_what_was_measured_of_it(found):
    told = found["rounds"]
    assert [row["round"] for row in told] == [0, 1, 2, None]
    (first,), (second,) = (row["selections"] for row in told[:2])
    assert (first["judged"], first["rejected"], first["noise_ratio"]) == (4, 2, 0.5)
    assert {each["origin"]: each["share_kept"] for each in first["origins"]} == {"web": 0, "synthetic": 2 / 3}
    assert (second["step"], second["noise_ratio"]) == ("select@1", 0.5)
    assert told[3]["trainings"] == [{"step": "pretrain", "updates": 2, "last": {"loss": 1.5, "itc": 1.0}}]
    for row in told[:3]:
        (itm,) = [each for each in row["retrieval"] if each["model"] == "matcher_itm"]
        assert itm["image_to_text"] == sum(FOUND[itm["step"]]) / IMAGES
    assert told[1]["captioning"][0]["step"] == "evaluate_captions@1"


def test_a_gain_is_one_only_where_the_interval_says_so(found):
    gains = found["gains"]
    told = [(gain["round"], gain["measure"], gain["verdict"]) for gain in gains]
    of_retrieval = [(1, "retrieval R@1", "gain"), (2, "retrieval R@1", "none")]
    assert sorted(told) == sorted([*of_retrieval, (1, "CIDEr-D", "loss"), (2, "CIDEr-D", "none")])
    hit = {step: np.array(found, float) for step, found in FOUND.items()}
    by_text = np.array([sum(text % 3 > 0 for text in (2 * image, 2 * image + 1)) for image in range(IMAGES)])
    one, two = np.ones(IMAGES), np.full(IMAGES, 2.0)
    shares = {step: [Share(found, one), Share(found * by_text, two)] for step, found in hit.items()}
    for number, gain in enumerate(gain for gain in gains if gain["measure"] == "retrieval R@1"):
        before, after = list(FOUND)[number : number + 2]
        # the images are drawn by their place in the order of their keys
        order = np.argsort([f"test-{image}" for image in range(IMAGES)])
        wanted = paired_difference(*([Share(*(c[order] for c in each)) for each in shares[s]] for s in (before, after)))
        assert (gain["difference"], gain["low"], gain["high"]) == pytest.approx((wanted.value, wanted.low, wanted.high))
    loss = next(gain for gain in gains if gain["verdict"] == "loss")
    assert (loss["difference"], loss["low"], loss["high"]) == pytest.approx((-0.1, -0.1, -0.1))


def test_in_words():
    row = {"round": 2, "measure": "retrieval R@1", "source": "coco", "model": "matcher_itm", "images": 5000}
    gain = {**row, "difference": 0.031, "low": 0.012, "high": 0.05, "verdict": "gain"}
    assert in_words(gain) == (
        "round 2: retrieval R@1 of matcher_itm on coco +3.1 points (95 %: +1.2 … +5.0, 5,000 images)"
    )
    none = {**row, "model": None, "difference": 0.003, "low": -0.008, "high": 0.015, "verdict": "none"}
    assert in_words({**none, "measure": "CIDEr-D"}) == (
        "no gain in round 2: CIDEr-D on coco +0.3 points (95 %: \N{MINUS SIGN}0.8 … +1.5, 5,000 images)"
    )
    assert in_words({**none, "high": -0.001, "verdict": "loss"}).startswith("loss in round 2: retrieval R@1 on coco")


def test_a_line_per_round(found, capsys):
    print_rounds(Console(width=400), found)
    said = capsys.readouterr().out
    titles, zero, one, two, after = (line.split() for line in said.splitlines() if line and not line.startswith(" "))
    assert titles[:2] == ["round", "noise"]
    assert said.splitlines()[-len(found["gains"]) :] == [f"  {in_words(gain)}" for gain in found["gains"]]
    assert [line[0] for line in (zero, one, two, after)] == ["0", "1", "2", "after"]
    assert zero[1:4] == ["50.0", "0.0", "66.7"]
    assert after[1:] == ["1.5"]


def test_a_manifest_without_rounds_says_nothing(catalog, capsys):
    assert rounds(Graph({}), catalog) == {"rounds": [], "gains": []}
    print_rounds(Console(), {"rounds": [], "gains": []})
    assert capsys.readouterr().out == ""
