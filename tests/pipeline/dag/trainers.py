"""Stages that train, for manifests of several rounds: declared, and never run."""

from __future__ import annotations

from typing import Literal

import pytest

from pipeline.dag.wiring import CHECKPOINT
from pipeline.manifest.document import SECTIONS, section
from stages.contract import LEARNT_FROM, ModelRef, Port, Recipe, RunOptions, StageSpec
from stages.kinds import KINDS, Kind
from stages.registry import STAGES
from stages.tables import SELECTION

PAIRS = {"images": Port("images"), "captions": Port("captions", many=True)}


class MedRecipe(Recipe):
    """Of a model that is pretrained on what was selected, or where nothing was, on what there is."""

    vision: ModelRef
    text: ModelRef


class FinetuneRecipe(Recipe):
    """Of a model that is fine-tuned where people wrote captions."""

    task: Literal["captioning", "retrieval"]
    init: ModelRef


MED = StageSpec(
    name="med",
    version=1,
    reads={**PAIRS, "selection": Port("selection", optional=True)},
    writes=CHECKPOINT,
    recipe=MedRecipe,
    run=RunOptions,
    compute="tests.nowhere:Med",
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
    compute="tests.nowhere:Finetune",
    uses=frozenset({"pairs", "both"}),
    grain="run",
)


def register(patch: pytest.MonkeyPatch) -> None:
    """Make the two known, for one test."""
    patch.setitem(KINDS, CHECKPOINT, Kind(SELECTION, "checkpoints"))  # type: ignore[arg-type] - a dictionary, in truth
    for spec in (MED, FINETUNE):
        patch.setitem(STAGES, spec.name, spec)
    for spec in (MED, FINETUNE):
        patch.setitem(SECTIONS, spec.name, section(spec))  # type: ignore[arg-type]
