"""What a stage is: settings, inputs and one class that turns an input shard into an output table.

A stage knows no schedule, no retry, no path but the ones it is given, and no Ray. Its `spec.py` declares a `StageSpec`
and costs pydantic alone to import; its `compute.py` may import torch and is imported only where a shard is worked on.
"""

from stages.contract.models import (
    FROM,
    HUB_NAME,
    ModelField,
    ModelRef,
    OptionalModelRef,
    PairModelRecipe,
    PretrainedRecipe,
    QFormerRecipe,
    absent_models,
    model_fields,
    models_from,
    path_of,
)
from stages.contract.ports import ASKED, CAPTIONED, EVERY_USE, LEARNT_FROM, MEASURED, Port, Use
from stages.contract.settings import (
    MAX_BYTES,
    Count,
    Dtype,
    GroupRunOptions,
    ModelRunOptions,
    Recipe,
    RunOptions,
    Seconds,
    Seed,
    Settings,
    Threads,
)
from stages.contract.stage import Check, Compute, Grain, Problems, StageSpec, Trainer, Wired, Workers
from stages.contract.work import CorpusJob, CorpusShard, Inputs, Output, Result, Shard

__all__ = [
    "ASKED",
    "CAPTIONED",
    "EVERY_USE",
    "FROM",
    "HUB_NAME",
    "LEARNT_FROM",
    "MAX_BYTES",
    "MEASURED",
    "Check",
    "Compute",
    "CorpusJob",
    "CorpusShard",
    "Count",
    "Dtype",
    "Grain",
    "GroupRunOptions",
    "Inputs",
    "ModelField",
    "ModelRef",
    "ModelRunOptions",
    "OptionalModelRef",
    "Output",
    "PairModelRecipe",
    "Port",
    "PretrainedRecipe",
    "Problems",
    "QFormerRecipe",
    "Recipe",
    "Result",
    "RunOptions",
    "Seconds",
    "Seed",
    "Settings",
    "Shard",
    "StageSpec",
    "Threads",
    "Trainer",
    "Use",
    "Wired",
    "Workers",
    "absent_models",
    "model_fields",
    "models_from",
    "path_of",
]
