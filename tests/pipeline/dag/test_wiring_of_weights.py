"""Filters that are joined by fitted weights: who reads of whom, what a change costs, and what is said beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dag.graph import Graph, Lists, build_graph
from pipeline.manifest.load import load_manifest
from stages.errors import UserError

SECTIONS = {
    "shuffle": "{}",
    "caption": "{model: one}",
    "rank": "{model: clip}",
    "filter": "{model: itm, pairs: true}",
    "second": "{stage: filter, model: itm2, pairs: true}",
    "weigh": "{}",
    "repeats": "{most: 100}",
    "select": "{k: 2, join: fitted}",
    "pretrain": "{model: clip, tokenizer: bert}",
}
SOURCES = """\
output: out
sources:
  web: {format: csv, path: list.csv}
  both: {format: coco, path: coco.json, images: coco, use: both}
  pairs: {format: vg, path: vg.json, images: vg}
"""


def graph_of(folder: Path, text: str) -> Graph:
    (folder / "m.yaml").write_text(text)
    manifest = load_manifest(folder / "m.yaml")
    return build_graph(manifest.steps, manifest.sources, lists=Lists(parts_of=lambda _name, _source: []))


def build(folder: Path, **changed: str | None) -> Graph:
    """The graph with some sections otherwise, or left out."""
    lines = [f"{name}: {said}\n" for name, said in (SECTIONS | changed).items() if said is not None]
    return graph_of(folder, SOURCES + "".join(lines))


def versions(graph: Graph) -> dict[str, str]:
    return {name: node.fingerprint for name, node in graph.nodes.items()}


def moved(before: Graph, after: Graph) -> set[str]:
    """The nodes of both that have another fingerprint."""
    one, other = versions(before), versions(after)
    return {name for name in one.keys() & other.keys() if one[name] != other[name]}


def test_weights_of_people_s_texts_are_read_by_every_selection(tmp_path: Path) -> None:
    nodes = build(tmp_path).nodes
    reads = {name: {role: " ".join(names) for role, names in node.reads.items()} for name, node in nodes.items()}
    assert reads["weigh"] == {
        "captions": "annotate/both shuffle/both caption/both annotate/pairs shuffle/pairs",
        "matches": "filter/both second/both filter/pairs second/pairs",
    }
    assert reads["shuffle/pairs"] == {"urls": "urls/pairs", "images": "download/pairs"}
    assert reads["select/web"] == {
        "captions": "annotate/web caption/web",
        "similarities": "rank/web",
        "matches": "filter/web second/web",
        "weights": "weigh",
        "repeats": "repeats/web",
    }
    assert reads["select/pairs"]["weights"] == "weigh"
    assert "shuffle/web" not in nodes
    assert "repeats/pairs" not in nodes


@pytest.mark.parametrize("select", ["{k: 3}", "{join: all}", "{itm_threshold: 0.7}", "{per_writer: 1}"])
def test_another_join_or_threshold_moves_no_score(select: str, tmp_path: Path) -> None:
    without = {"shuffle": None, "weigh": None, "select": "{}"}
    after = build(tmp_path, **{**without, "select": select})
    selections = {"select/web", "select/both", "select/pairs"}
    assert moved(build(tmp_path, **without), after) == {*selections, "pretrain"}


def test_fitted_weights_cost_the_web_no_score(tmp_path: Path) -> None:
    """What people wrote is judged for them; what was judged of the web stays."""
    filters = {"filter": "{model: itm}", "second": "{stage: filter, model: itm2}"}
    before = build(tmp_path, **filters, shuffle=None, weigh=None, select="{k: 2}")
    assert not {name for name in moved(before, build(tmp_path)) if name.endswith("/web")} - {"select/web"}
    assert moved(build(tmp_path, weigh=None, select="{k: 2}"), build(tmp_path)) == {
        *(f"select/{source}" for source in ("web", "both", "pairs")),
        "pretrain",
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"weigh": None},
            "select.join: found \"fitted\", but there is no 'weigh' section above; add 'shuffle: {}' above",
        ),
        (
            {"select": "{k: 2}"},
            "select: 'join' is mean, so that nothing reads the weights of 'weigh'; set 'join: fitted'",
        ),
        ({"shuffle": None}, "weigh: needs a text of another image beside each own one; add 'shuffle: {}' above"),
        (
            {"filter": "{model: itm}"},
            "weigh: 'filter' judges no text of 'pairs', as other filters do; set 'pairs: true'",
        ),
        ({"second": "{stage: filter, model: b, reads: [download, caption]}"}, "reads 'annotate' and 'shuffle', which"),
        (
            {"select": "{join: fitted, reads: [annotate, caption, rank, filter, weigh, repeats]}"},
            "which also reads 'second'",
        ),
    ],
)
def test_what_is_missing_is_told_with_the_section_to_add(
    changed: dict[str, str | None], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        build(tmp_path, **changed)
    assert told in str(caught.value)


def test_where_no_filter_judges_people_it_says_so(tmp_path: Path) -> None:
    filters = {"filter": "{model: itm}", "second": "{stage: filter, model: itm2}"}
    alone = SOURCES.replace("  both: {format: coco, path: coco.json, images: coco, use: both}\n", "")
    lines = [f"{name}: {said}\n" for name, said in (SECTIONS | filters).items()]
    with pytest.raises(UserError, match="no 'filter' above judges what people wrote; set 'pairs: true' in it"):
        graph_of(tmp_path, alone + "".join(lines))


def test_sections_in_the_order_of_the_alphabet_are_taken_in_that_of_a_main_job(tmp_path: Path) -> None:
    lines = [f"{name}: {said}\n" for name, said in sorted(SECTIONS.items())]
    assert versions(graph_of(tmp_path, SOURCES + "".join(lines))) == versions(build(tmp_path))


ROUNDS = """\
weigh: {}
rounds:
  times: 2
  caption: {top_p: 0.8}
  rank: {}
  filter: {}
  second: {}
  WEIGH
  select: {k: 1, join: fitted}
"""


def test_weights_are_of_the_filters_of_the_same_round(tmp_path: Path) -> None:
    above = "".join(f"{name}: {SECTIONS[name]}\n" for name in ("shuffle", "caption", "rank", "filter", "second"))
    nodes = graph_of(tmp_path, SOURCES + above + ROUNDS.replace("WEIGH", "weigh: {}")).nodes
    assert nodes["weigh@2"].reads["matches"][:2] == ("filter@2/both", "second@2/both")
    assert nodes["select@2/web"].reads["weights"] == ("weigh@2",)
    with pytest.raises(UserError) as caught:
        graph_of(tmp_path, SOURCES + above + ROUNDS.replace("  WEIGH\n", ""))
    told = "reads 'filter' and 'second' of its own round, and 'weigh' that of another one; let both stand in 'rounds:'"
    assert told in str(caught.value)
