"""Which step reads of which: our manifests, edge by edge, and the five rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainers import register

from pipeline.dag.graph import Graph, Lists, build_graph
from pipeline.dag.steps import Step
from pipeline.dag.wiring import wire
from pipeline.manifest.load import load_manifest
from stages.contract import Port, Recipe, RunOptions, StageSpec, Use
from stages.errors import UserError

Edges = dict[str, dict[str, str]]
"""By node and role, the nodes that are read."""

WEB = {
    "urls": "",
    "download": "urls",
    "annotate": "urls download",
    "caption": "download",
    "rank": "download annotate caption",
    "filter": "download annotate caption",
    "select": "annotate caption rank filter",
}
PAIRS = {"urls": "", "download": "urls", "annotate": "urls download", "select": "annotate"}
BY_USE = {"web": WEB, "pairs": PAIRS, "measure": {name: PAIRS[name] for name in ("urls", "download", "annotate")}}
"""Of one source: each step, and what it reads of the same source."""
AT_ONCE = {
    "pretrain": {
        "web": "download annotate caption select",
        "pairs": "download annotate select",
        "measure": "download",  # of which it learns only which images to leave out
    },
    "evaluate": {"measure": "download annotate", "": "pretrain"},
}
"""Of all sources: each step, and what it reads of the sources of each use; and of none."""
OURS = {
    "quickstart": {"web": "web", "human": "pairs", "human_test": "measure"},
    "laion": {"laion": "web"},
    "cc3m": {"cc3m": "web"},
    "cc12m": {"cc12m": "web"},
    "sbu": {"sbu": "web"},
    "blip2": {
        "coco": "pairs",
        "coco_test": "measure",
        "flickr_test": "measure",
        "vg": "pairs",
        "sbu": "web",
        "cc3m": "web",
        "cc12m": "web",
        "laion": "web",
    },
}
WITHOUT = {"blip2": {"filter"}, **{name: {"evaluate"} for name in ("laion", "cc3m", "cc12m", "sbu")}}
"""The steps that a manifest does not have."""


@pytest.mark.parametrize("name", OURS)
def test_the_edges_of_our_manifests(name: str) -> None:
    manifest = load_manifest(Path("manifests", f"{name}.yaml"))
    assert manifest.uses == OURS[name]
    absent = WITHOUT.get(name, set())
    expected = {
        f"{step}/{source}": {f"{before}/{source}" for before in reads.split() if before not in absent}
        for source, use in OURS[name].items()
        for step, reads in BY_USE[use].items()
        if step not in absent
    }
    for step, by_use in AT_ONCE.items():
        if step not in absent:
            expected[step] = set(by_use.get("", "").split())
            for source, use in OURS[name].items():
                expected[step] |= {f"{before}/{source}" for before in by_use.get(use, "").split()}
    wiring = wire(manifest.steps, manifest.uses)
    assert wiring.problems == []
    found = {name: {read for names in wired.reads.values() for read in names} for name, wired in wiring.wires.items()}
    assert found == expected


def spec(name: str, writes: str, *reads: str, uses: Sequence[Use] = ("web", "pairs")) -> StageSpec:
    ports = {kind: Port(kind, many=True, optional=True) for kind in reads}
    return StageSpec(name, 1, ports, writes, Recipe, RunOptions, "x:y", uses=frozenset(uses))


SPECS = [
    spec("download", "images"),
    spec("caption", "captions", "images", uses=["web"]),
    spec("annotate", "captions", "images"),
    spec("filter", "matches", "images", "captions", uses=["web"]),
    spec("select", "selection", "captions", "matches"),
]
STEPS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(SPECS), st.none() | st.frozensets(st.sampled_from("abcde"))),
    max_size=9,
)


@given(STEPS)
def test_a_port_takes_the_latest_step_of_each_name_above_that_writes_its_kind(
    drawn: list[tuple[str, StageSpec, frozenset[str] | None]],
) -> None:
    """Rules 1, 2 and 4, as they are said, on steps in any order."""
    steps = [
        Step(f"{name}@{at}", found, Recipe(), RunOptions(), reads) for at, (name, found, reads) in enumerate(drawn)
    ]
    uses: dict[str, Use] = {"one": "web", "other": "pairs"}
    wires = wire(steps, uses).wires
    assert len(wires) == sum(use in step.spec.uses for step in steps for use in uses.values())
    for at, step in enumerate(steps):
        for source in (source for source, use in uses.items() if use in step.spec.uses):
            for kind in step.spec.reads:
                expected = []
                for before, other in enumerate(steps[:at]):
                    is_latest = not any(later.section == other.section for later in steps[before + 1 : at])
                    is_wanted = step.reads is None or other.section in step.reads
                    passes = other.takes(uses[source])
                    if is_latest and is_wanted and passes and other.spec.writes == kind:
                        expected.append(f"{other.name}/{source}")
                assert list(wires[f"{step.name}/{source}"].reads.get(kind, ())) == expected


MANIFEST = """\
output: out
sources: {web: {format: csv, path: list.csv}}
download: {}
caption: {model: one}
second: {stage: caption, model: two, top_p: 0.5}
rank: {model: clip}
filter: {model: itm}
other: {stage: filter, model: itm2}
select: {k: 1}
pretrain: {model: clip, tokenizer: bert}
"""
TOP, *SECTIONS = (f"{line}\n" for line in MANIFEST.splitlines()[1:])
Build = Callable[[str], Graph]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """The graph of a manifest's text."""

    def make(text: str) -> Graph:
        path = tmp_path / "m.yaml"
        path.write_text(text)
        manifest = load_manifest(path)
        return build_graph(manifest.steps, manifest.sources, lists=Lists(parts_of=lambda _name, _source: []))

    return make


def edges(graph: Graph) -> Edges:
    return {
        name: {role: " ".join(names) for role, names in node.reads.items() if names}
        for name, node in graph.nodes.items()
    }


def moved(before: Graph, after: Graph) -> set[str]:
    """The nodes that have another fingerprint."""
    assert before.nodes.keys() == after.nodes.keys()
    return {name for name, node in before.nodes.items() if node.fingerprint != after.nodes[name].fingerprint}


def test_several_write_and_judge(build: Build) -> None:
    found = edges(build(MANIFEST))
    texts = "annotate/web caption/web second/web"
    assert found["second/web"] == {"images": "download/web"}
    assert found["rank/web"] == found["other/web"] == {"images": "download/web", "captions": texts}
    assert found["select/web"] == {
        "captions": texts,
        "similarities": "rank/web",
        "matches": "filter/web other/web",
    }


def test_reads_narrows(build: Build) -> None:
    """So that two that rank, and two that select, are told apart."""
    best = "best: {stage: rank, model: c, reads: [download, second]}\n"
    strict = "strict: {stage: select, k: 1, reads: [second, best, other]}\n"
    other = "other: {stage: filter, model: itm2, reads: [download, second]}\n"
    select = "select: {k: 1, reads: [annotate, caption, second, rank, filter]}\n"
    pretrain = "pretrain: {model: clip, reads: [download, annotate, strict]}\n"
    found = edges(build(f"output: out\n{TOP}{''.join(SECTIONS[:5])}{best}{other}{select}{strict}{pretrain}"))
    second = {"images": "download/web", "captions": "second/web"}
    assert found["best/web"] == found["other/web"] == second
    texts = "annotate/web caption/web second/web"
    assert found["select/web"] == {"captions": texts, "similarities": "rank/web", "matches": "filter/web"}
    assert found["strict/web"] == {"captions": "second/web", "similarities": "best/web", "matches": "other/web"}
    assert found["pretrain"] == {"images": "download/web", "captions": "annotate/web", "selection": "strict/web"}


def test_one_that_another_may_not_read_is_no_mistake(build: Build) -> None:
    """Somebody wants its scores in the views."""
    found = edges(build(MANIFEST.replace("k: 1", "k: 1, reads: [annotate, caption, second, rank, filter]")))
    assert not [name for name, roles in found.items() if "other/web" in roles.get("matches", "").split()]


def test_another_top_p_moves_what_reads_these_captions_and_nothing_else(build: Build) -> None:
    after = build(MANIFEST.replace("top_p: 0.5", "top_p: 0.6"))
    readers = {"rank/web", "filter/web", "other/web", "select/web", "pretrain"}
    assert moved(build(MANIFEST), after) == {"second/web", *readers}


def test_another_threshold_moves_no_score(build: Build) -> None:
    assert moved(build(MANIFEST), build(MANIFEST.replace("k: 1", "k: 3"))) == {"select/web", "pretrain"}


def test_a_section_may_be_called_otherwise(build: Build) -> None:
    before = build(MANIFEST)
    after = build(MANIFEST.replace("second:", "a-much_nicer-name:").replace("select: {", "chosen: {stage: select, "))
    assert [node.fingerprint for node in before.nodes.values()] == [node.fingerprint for node in after.nodes.values()]
    assert "chosen/web" in after.nodes
    assert "select/web" not in after.nodes


def test_sections_that_do_not_read_one_another_may_change_places(build: Build) -> None:
    urls, rank, judge = "urls: {shard_size: 10000}\n", SECTIONS[3], SECTIONS[4]
    assert not moved(build(urls + MANIFEST), build(MANIFEST.replace(rank + judge, judge + rank)))
    assert moved(build(MANIFEST), build(MANIFEST.replace(SECTIONS[1] + SECTIONS[2], SECTIONS[2] + SECTIONS[1]))) == {
        *(f"{step}/web" for step in ("rank", "filter", "other", "select")),
        "pretrain",
    }  # of two equal texts the first one is kept


def test_a_section_that_nothing_reads_moves_nothing(build: Build) -> None:
    before, after = build(MANIFEST), build(MANIFEST + "strict: {stage: select, k: 1, itm_threshold: 0.9}\n")
    known = {name: node.fingerprint for name, node in after.nodes.items()}
    assert known.pop("strict/web") != before.nodes["select/web"].fingerprint
    assert known == {name: node.fingerprint for name, node in before.nodes.items()}


ROUNDS = """\
output: out/rounds
sources:
  web:  {format: laion, path: "lists/*.parquet"}
  coco: {format: coco, path: coco.json, images: coco, use: both}
  test: {format: coco, path: coco.json, images: coco, splits: [test], use: measure}
med: {vision: vit_base_patch16_224, text: google-bert/bert-base-uncased}
captioner: {stage: finetune, task: captioning, init: {from: med}, reads: [download, annotate]}
matcher:   {stage: finetune, task: retrieval, init: {from: med}, reads: [download, annotate]}
rounds:
  times: 2
  caption:    {model: {from: captioner}, candidates: 1}
  caption_b2: {stage: caption, model: Salesforce/blip2-opt-2.7b}
  filter:     {model: {from: matcher}}
  filter_b2:  {stage: filter, model: Salesforce/blip2-itm-vit-g}
  select:     {k: null, itm_threshold: 0.5, join: mean}
  med: {}
  captioner: {}
  matcher: {}
pretrain: {model: ViT-L-14-quickgelu, pretrained: openai}
evaluate: {}
"""


@pytest.fixture
def _trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


def of_both(*steps: str) -> str:
    """What is read of the two sources that are learnt from, source by source."""
    return " ".join(f"{step}/{source}" for source in ("web", "coco") for step in steps)


@pytest.mark.usefixtures("_trainers")
def test_what_was_trained_is_measured_with_or_without_a_qformer(build: Build) -> None:
    measuring = """\
evaluate: {matcher: {from: matcher}}
predict: {model: {from: captioner@1}}
evaluate_captions: {}
"""
    image, listed = "download/test", "urls/test"
    retrieval = {"images": image, "captions": "annotate/test", "matcher": "matcher@2"}
    for whole, expected in (
        (ROUNDS.replace("evaluate: {}\n", measuring), retrieval | {"qformer": "pretrain"}),
        (ROUNDS[: ROUNDS.index("pretrain:")] + measuring, retrieval),
    ):
        found = edges(build(whole))
        assert found["evaluate"] == expected
        assert found["predict/test"] == {"urls": listed, "images": image, "model": "captioner@1"}
        assert found["evaluate_captions"] == {"urls": listed, "images": image, "predictions": "predict/test"}


@pytest.mark.usefixtures("_trainers")
def test_two_rounds_with_several_captioners_and_filters(build: Build) -> None:
    found = edges(build(ROUNDS))
    assert found["med"] == {"images": of_both("download"), "captions": of_both("annotate")}
    pairs = {"images": "download/coco", "captions": "annotate/coco"}
    for number, before in ((1, ""), (2, "@1")):
        for source in ("web", "coco"):
            images, written = f"download/{source}", f"caption@{number}/{source} caption_b2@{number}/{source}"
            texts = f"annotate/{source} {written}"
            assert found[f"caption@{number}/{source}"] == {"images": images, "model": f"captioner{before}"}
            assert found[f"caption_b2@{number}/{source}"] == {"images": images}
            judged = {"images": images, "captions": texts}
            assert found[f"filter@{number}/{source}"] == judged | {"model": f"matcher{before}"}
            assert found[f"filter_b2@{number}/{source}"] == judged
            matches = f"filter@{number}/{source} filter_b2@{number}/{source}"
            assert found[f"select@{number}/{source}"] == {"captions": texts, "matches": matches}
        assert found[f"med@{number}"] == {
            "images": of_both("download"),
            "captions": of_both("annotate", f"caption@{number}", f"caption_b2@{number}"),
            "selection": of_both(f"select@{number}"),
        }
        assert found[f"captioner@{number}"] == found[f"matcher@{number}"] == pairs | {"init": f"med@{number}"}
    assert found["captioner"] == found["matcher"] == pairs | {"init": "med"}
    assert found["pretrain"] == {
        "images": of_both("download"),
        "captions": of_both("annotate", "caption@2", "caption_b2@2"),
        "selection": of_both("select@2"),
        "measured": "download/test",
    }
    assert found["evaluate"] == {"images": "download/test", "captions": "annotate/test", "qformer": "pretrain"}
    ours = {"urls", "download", "annotate"}
    assert {name.split("/")[0] for name in found if name.endswith("/test")} == ours
    assert len(found) == 3 * 3 + 3 + 2 * (5 * 2 + 3) + 2


@pytest.mark.usefixtures("_trainers")
def test_the_second_stage_begins_with_the_first(build: Build) -> None:
    found = edges(build(f"{ROUNDS}align: {{init: {{from: pretrain}}, llm: facebook/opt-2.7b}}\n"))
    assert found["align"] == found["pretrain"] | {"init": "pretrain"}
    again = edges(build(f"{ROUNDS}more: {{stage: pretrain, model: RN, init: {{from: pretrain}}}}\n"))
    assert again["more"] == again["pretrain"] | {"init": "pretrain"}


@pytest.mark.usefixtures("_trainers")
def test_a_round_costs_what_changes_in_it_and_what_follows(build: Build) -> None:
    before = build(ROUNDS)
    again = moved(before, build(ROUNDS.replace("stage: caption, model", "stage: caption, top_p: 0.8, model")))
    # the first captioner's captions of the first round are those of before; in the second it is another captioner
    assert {name.partition("/")[0] for name in before.nodes} - {name.partition("/")[0] for name in again} == {
        *("urls", "download", "annotate", "med", "captioner", "matcher", "caption@1"),
    }
    once = build(ROUNDS.replace("times: 2", "times: 1"))
    known = {name: node.fingerprint for name, node in before.nodes.items()}
    assert all(known[name] == node.fingerprint for name, node in once.nodes.items() if "@" in name)


def written_out(number: int, before: str) -> str:
    """A round of the above as sections with names of their own, which therefore say what they read."""
    images = "download, annotate"
    texts = f"annotate, caption-{number}, caption_b2-{number}"
    return f"""\
caption-{number}: {{stage: caption, model: {{from: captioner{before}}}, candidates: 1}}
caption_b2-{number}: {{stage: caption, model: Salesforce/blip2-opt-2.7b}}
filter-{number}: {{stage: filter, model: {{from: matcher{before}}}, reads: [download, {texts}]}}
filter_b2-{number}: {{stage: filter, model: Salesforce/blip2-itm-vit-g, reads: [download, {texts}]}}
select-{number}: {{stage: select, k: null, reads: [{texts}, filter-{number}, filter_b2-{number}]}}
med-{number}: {{stage: med, reads: [download, {texts}, select-{number}],
  vision: vit_base_patch16_224, text: google-bert/bert-base-uncased}}
captioner-{number}: {{stage: finetune, task: captioning, init: {{from: med-{number}}}, reads: [{images}]}}
matcher-{number}: {{stage: finetune, task: retrieval, init: {{from: med-{number}}}, reads: [{images}]}}
"""


@pytest.mark.usefixtures("_trainers")
def test_rounds_are_sections_written_out(build: Build) -> None:
    above, last = ROUNDS[: ROUNDS.index("rounds:")], ROUNDS[ROUNDS.index("pretrain:") :]
    last = last.replace("openai", "openai, reads: [download, annotate, caption-2, caption_b2-2, select-2]")
    found, expected = build(above + written_out(1, "") + written_out(2, "-1") + last), build(ROUNDS)
    assert {name: node.fingerprint for name, node in found.nodes.items()} == {
        name.replace("@", "-"): node.fingerprint for name, node in expected.nodes.items()
    }


@pytest.mark.usefixtures("_trainers")
def test_a_model_is_that_of_the_nearest_step_of_its_name_or_of_a_round_by_its_number(build: Build) -> None:
    text = ROUNDS + "last: {stage: caption, model: {from: captioner}, reads: [download]}\n"
    text += "first: {stage: caption, model: {from: captioner@1}}\n"
    found = edges(build(text))
    assert found["last/web"] == {"images": "download/web", "model": "captioner@2"}
    assert found["first/web"] == {"images": "download/web", "model": "captioner@1"}


@pytest.mark.usefixtures("_trainers")
def test_what_a_step_makes_is_known_by_its_fingerprint_whatever_it_is_called(build: Build) -> None:
    before = build(ROUNDS)
    renamed = build(ROUNDS.replace("captioner:", "writer:").replace("{from: captioner}", "{from: writer}"))
    assert [node.fingerprint for node in before.nodes.values()] == [node.fingerprint for node in renamed.nodes.values()]
    other = moved(before, build(ROUNDS.replace("task: captioning,", "task: retrieval,")))
    assert {"captioner", "caption@1/web", "captioner@2"} <= other
    assert not {"med", "matcher", "caption_b2@1/web", "caption_b2@2/web"} & other


@pytest.mark.parametrize(
    ("reads", "told"),
    [
        ("[caption, second, rank]", "reads 'rank', which also reads 'annotate'; add it to 'reads:' here"),
        ("[annotate, rank]", "reads 'rank', which also reads 'caption' and 'second'; add it to 'reads:' here"),
    ],
)
def test_scores_are_of_all_that_is_selected_from_and_of_nothing_else(reads: str, told: str, tmp_path: Path) -> None:
    path, steps = tmp_path / "m.yaml", {"select": f"{{itm_threshold: null, reads: {reads}}}"}
    sections = [line for line in SECTIONS if line.partition(":")[0] in {"download", "caption", "second", "rank"}]
    for more in ({}, {"pretrain": "{model: clip, tokenizer: bert}"}):
        last = [f"{name}: {said}\n" for name, said in (steps | more).items()]
        path.write_text("".join(["output: out\n", TOP, *sections, *last]))
        with pytest.raises(UserError) as caught:
            load_manifest(path)
        assert f"select: {told}" in str(caught.value)
    same = reads.replace(", rank", "").replace("[", "[download, ")
    own = [line.replace("rank: {", f"rank: {{reads: {same}, ") for line in sections]
    path.write_text("".join(["output: out\n", TOP, *own, "select: " + steps["select"] + "\n"]))
    load_manifest(path)


def test_a_scorer_that_leaves_out_what_is_selected_from_is_told(tmp_path: Path) -> None:
    sections = [line.replace("{model: clip}", "{model: clip, reads: [download, second]}") for line in SECTIONS[:4]]
    (tmp_path / "m.yaml").write_text("".join(["output: out\n", TOP, *sections, "select: {itm_threshold: null}\n"]))
    with pytest.raises(UserError, match="reads 'annotate' and 'caption', which 'rank' does not; leave"):
        load_manifest(tmp_path / "m.yaml")
