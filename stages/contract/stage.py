"""A stage, declared: what it reads and writes, by which settings, and the class that does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from stages.contract.settings import Recipe, RunOptions
from stages.contract.work import Output, Shard

Grain = Literal["file", "shard", "source", "run"]
"""What a stage works at once: one file of a source's list; one shard of one source; all shards of one source, and of
those above it in the manifest that pass through the stage too (`CorpusJob`); all shards of all its sources."""

Workers = Literal["one", "group"]
"""Whether one worker does a piece of the work, or several together, as in a training."""


class Compute(Protocol):
    """Built once per worker, loads its models there; then called once per shard."""

    def __init__(self, recipe: Any, run: Any) -> None: ...

    def __call__(self, shard: Shard) -> Output:
        """Work one shard. What cannot be processed stays in the table with its status; raising fails the shard."""
        ...


@dataclass(frozen=True)
class StageSpec:
    """A stage, declared. `compute` is named, not imported, so that a driver never loads torch."""

    name: str
    version: int
    """Raised by hand when the code changes what the stage computes."""
    inputs: tuple[str, ...]
    """The stages that it reads, as far as a source passes through them."""
    recipe: type[Recipe]
    run: type[RunOptions]
    compute: str
    """`"package.module:Class"`."""
    grain: Grain = "shard"
    workers: Workers = "one"

    @property
    def at_once(self) -> bool:
        """Whether it reads all shards at once, of a source or of all."""
        return self.grain in {"source", "run"}
