"""Which source goes where: what is measured on is never learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dag.graph import Graph, Lists, build_graph
from pipeline.manifest.load import load_manifest
from stages.urls.spec import CocoSource, VgSource

MANIFEST = """\
output: out
sources:
  people:
    format: coco
    path: coco.json
    images: images
{more}
pretrain:
  model: ViT-L-14-quickgelu
  pretrained: openai
"""
TEST = "  people_test: {format: coco, path: coco.json, images: images, splits: [test]}"
MEASURED, EVALUATE = TEST.replace("}", ", use: measure}"), "evaluate: {}\n"


def graph_of(folder: Path, text: str) -> Graph:
    path = folder / "m.yaml"
    path.write_text(text)
    manifest = load_manifest(path)
    return build_graph(manifest.steps, manifest.sources, lists=Lists(parts_of=lambda _name, _source: []))


def test_what_is_measured_on_is_read_by_evaluate_and_left_out_by_pretrain(tmp_path):
    graph = graph_of(tmp_path, MANIFEST.format(more=MEASURED) + EVALUATE)
    assert list(graph.nodes) == [
        *(f"{stage}/{source}" for stage in ("urls", "download", "annotate") for source in ("people", "people_test")),
        "select/people",
        "pretrain",
        "evaluate",
    ]
    assert graph.nodes["pretrain"].inputs == (
        *(f"{stage}/people" for stage in ("download", "annotate", "select")),
        "download/people_test",
    )
    assert graph.nodes["evaluate"].inputs == ("download/people_test", "annotate/people_test", "pretrain")


def test_measuring_leaves_the_training_as_it_was(tmp_path):
    without = graph_of(tmp_path, MANIFEST.format(more=""))
    measured = graph_of(tmp_path, MANIFEST.format(more=MEASURED) + EVALUATE)
    assert measured.nodes["pretrain"].fingerprint == without.nodes["pretrain"].fingerprint
    trained = graph_of(tmp_path, MANIFEST.format(more=TEST))
    assert trained.nodes["pretrain"].fingerprint != without.nodes["pretrain"].fingerprint


def coco(**changes: object) -> CocoSource:
    return CocoSource.model_validate({"format": "coco", "path": "coco.json", "images": "images", **changes})


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [
        (coco(), True),
        (coco(images="elsewhere"), True),
        (coco(path=("more.json", "coco.json")), True),
        (coco(path="more.json"), False),
        (coco(splits=("val", "test")), False),
        (coco(splits=("restval", "test")), True),
        (coco(where="cocoid % 2 = 0"), True),
        (VgSource(format="vg", path="coco.json", images="images"), True),
    ],
)
def test_two_sources_overlap_if_they_take_rows_of_one_file(other, overlaps):
    assert coco().overlaps(other) == overlaps
    assert other.overlaps(coco()) == overlaps


def test_different_conditions_are_believed():
    even, odd = coco(where="cocoid % 2 = 0"), coco(where="cocoid % 2 = 1")
    assert not even.overlaps(odd)
    assert even.overlaps(even)
