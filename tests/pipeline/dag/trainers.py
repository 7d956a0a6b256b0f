"""Stages that train, for manifests of several rounds. What they make of their data is a model that is there already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

import stages.demo
from stages.candidates import read_candidates
from stages.contract import LEARNT_FROM, CorpusJob, ModelRef, Output, Port, Recipe, RunOptions, StageSpec
from stages.registry import STAGES
from stages.tables import CHECKPOINT, TRAINING

CHECKPOINTS = Path(stages.demo.__path__[0]) / "checkpoints"

PAIRS = {"images": Port("images"), "captions": Port("captions", many=True)}


class MedRecipe(Recipe):
    """Of a model that is pretrained on what was selected, or where nothing was, on what there is."""

    vision: ModelRef
    text: ModelRef


class FinetuneRecipe(Recipe):
    """Of a model that is fine-tuned where people wrote captions."""

    task: Literal["captioning", "retrieval"]
    init: ModelRef


class Copy:
    """Counts what it is given, and copies a checkpoint; what it begins with must be a model's folder."""

    def __init__(self, recipe: Any, run: RunOptions) -> None:
        self._recipe = recipe

    def __call__(self, work: CorpusJob) -> Output:
        if isinstance(self._recipe, FinetuneRecipe):
            assert json.loads((Path(self._recipe.init) / "config.json").read_text())["model_type"]
        texts = sum(read_candidates(shard, []).num_rows for shard in work.corpus)
        shutil.copytree(CHECKPOINTS / TAUGHT[getattr(self._recipe, "task", None)], work.scratch / "model")
        table = pa.Table.from_pylist([{"step": 1, "measure": "texts", "value": texts}], schema=TRAINING)
        return Output(table, sides={CHECKPOINT: work.scratch / "model"}, counts={"images": len(work.corpus)})


TAUGHT = {None: "itm", "captioning": "captioner", "retrieval": "itm"}
"""The checkpoint that is copied, by task."""

MED = StageSpec(
    name="med",
    version=1,
    reads={**PAIRS, "selection": Port("selection", optional=True)},
    writes=CHECKPOINT,
    recipe=MedRecipe,
    run=RunOptions,
    compute="tests.pipeline.dag.trainers:Copy",
    uses=LEARNT_FROM,
    grain="run",
)
FINETUNE = StageSpec(
    name="finetune",
    version=1,
    reads=PAIRS,
    writes=CHECKPOINT,
    recipe=FinetuneRecipe,
    run=RunOptions,
    compute="tests.pipeline.dag.trainers:Copy",
    uses=frozenset({"pairs", "both"}),
    grain="run",
)


def register(patch: pytest.MonkeyPatch) -> None:
    """Make the two known, for one test."""
    for spec in (MED, FINETUNE):
        patch.setitem(STAGES, spec.name, spec)
