"""What a stage is: settings, inputs and one class that turns an input shard into an output table.

A stage knows no schedule, no retry, no path but the ones it is given, and no Ray. Its `spec.py` declares a `StageSpec`
and costs pydantic alone to import; its `compute.py` may import torch and is imported only where a shard is worked on.
"""

from stages.contract.models import ModelField, ModelName, PretrainedRecipe, QFormerRecipe
from stages.contract.settings import (
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
from stages.contract.stage import Compute, Grain, StageSpec, Workers
from stages.contract.work import CorpusJob, CorpusShard, Output, Result, Retry, Shard

__all__ = [
    "Compute",
    "CorpusJob",
    "CorpusShard",
    "Count",
    "Dtype",
    "Grain",
    "GroupRunOptions",
    "ModelField",
    "ModelName",
    "ModelRunOptions",
    "Output",
    "PretrainedRecipe",
    "QFormerRecipe",
    "Recipe",
    "Result",
    "Retry",
    "RunOptions",
    "Seconds",
    "Seed",
    "Settings",
    "Shard",
    "StageSpec",
    "Threads",
    "Workers",
]
