"""The groups of settings that a manifest consists of, and the bounds that every number in them has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

AS_TUPLE: Final = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Of a tuple in a section: where a recipe fills in defaults first, pydantic takes its lists for Python's, which are no
tuples to it."""


class Settings(BaseModel):
    """A closed, frozen group of settings: an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# Every number has bounds that are honest: beyond them it is a slip of the pen (a test holds all sections to it).
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""Of things; tables count in 32 bits."""
Threads = Annotated[int, Field(ge=1, le=10_000)]
"""In one process."""
Seconds = Annotated[float, Field(gt=0, le=365 * 86_400)]
"""Up to a year."""
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Recipe(Settings):
    """What changes a stage's result. It is fingerprinted whole, but for fields marked by `WhichSources`."""


@dataclass(frozen=True)
class WhichSources:
    """Marks a recipe field that says which sources pass through a step, and changes nothing of what it makes of one."""


class RunOptions(Settings):
    """Where and how fast a stage runs. Never fingerprinted."""

    actors: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Workers of this stage that run side by side (Ray executor)."""
    cpus: Annotated[float, Field(ge=0.001, le=10_000)] = 1.0
    """CPUs that Ray reserves for one worker."""
    gpus: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    """GPUs, or a fraction of one, that Ray reserves for one worker."""
    attempts: Annotated[int, Field(ge=1, le=1000)] = 3
    """How often a shard is tried before it is listed as failed."""
    deadline: Seconds = 3600.0
    """Seconds that one attempt may take; then its worker is replaced and the attempt counts as failed."""

    @field_validator("gpus")
    @classmethod
    def _can_be_reserved(cls, gpus: float) -> float:
        if 0 < gpus < 0.001 or (gpus > 1 and not gpus.is_integer()):
            raise ValueError("Ray reserves whole GPUs, or of a single one a fraction from 0.001 on")
        return gpus


class GroupRunOptions(RunOptions):
    """How a stage runs of which several workers do a piece of the work together. `cpus` and `gpus` are those of one."""

    workers: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Processes that work together (Ray executor)."""
    deadline: Seconds = 30 * 86_400.0
    """Seconds that one attempt may take; then all workers are replaced and the attempt counts as failed."""


class AtOnceRunOptions(RunOptions):
    """What it may take to lay all rows of a source beside one another."""

    deadline: Seconds = 24 * 3600.0
    """Seconds that one attempt may take: a source of hundreds of millions of images takes hours."""
    memory: Annotated[float, Field(ge=0.01, le=100_000)] = 4.0
    """GB of tables in memory; beyond it DuckDB goes on on the scratch disk."""


MAX_BYTES = 2**31
"""Of an image as it is stored: no recipe may allow more."""

Dtype = Literal["float32", "bfloat16", "float16"]


class ModelRunOptions(RunOptions):
    """How a stage that runs a model does so."""

    device: str = "auto"
    """`auto` (a GPU where the worker has one), or a torch device such as `cpu` or `cuda:0`."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    """Images per forward pass."""
    threads: Threads | None = None
    """CPU threads of torch in one worker; None leaves torch's (or Ray's) choice."""
