"""A stage, declared: what it reads and writes, by which settings, and the class that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stages.contract.ports import EVERY_USE, Port, Use
from stages.contract.settings import Recipe, RunOptions
from stages.contract.work import CorpusJob, Output, Shard

if TYPE_CHECKING:
    from stages.models.family import Role

Grain = Literal["file", "shard", "source", "run"]
"""What a stage works at once: one file of a source's list; one shard of one source; all shards of one source, and of
those above it in the manifest that pass through the stage too (`CorpusJob`); all shards of all its sources."""

Workers = Literal["one", "group"]
"""Whether one worker does a piece of the work, or several together, as in a training."""


Problems = Iterator[tuple[tuple[str, ...], str]]
"""What is wrong with a section: the key in it (or none), and what to say."""


@dataclass(frozen=True)
class Wired:
    """What a step finds of a source."""

    use: Use
    reads: Mapping[str, Mapping[str, str]]
    """By role for which there is something to read, the sections that it is read of, and the stage of each."""

    @property
    def roles(self) -> frozenset[str]:
        """Those of its ports for which there is something to read."""
        return frozenset(self.reads)


class Check(Protocol):
    """What can be said of a step before anything runs."""

    def __call__(self, recipe: Any, wired: Mapping[str, Wired]) -> Problems:
        """Find what is wrong.

        Args:
            recipe: the step's.
            wired: by source that passes through the step.
        """
        ...


class Compute(Protocol):
    """Built once per worker, loads its models there; then called once per shard."""

    def __init__(self, recipe: Any, run: Any) -> None: ...

    def __call__(self, shard: Shard) -> Output:
        """Work one shard. What cannot be processed stays in the table with its status; raising fails the shard."""
        ...


class Trainer(Protocol):
    """The compute of a stage whose workers are a group.

    Called with a `CorpusJob` it trains alone, or reads the result that a group has left beside the checkpoints; the
    table that it returns is the history, and the side folder `tables.CHECKPOINT` is the model.
    """

    def __init__(self, recipe: Any, run: Any) -> None: ...

    def __call__(self, work: CorpusJob) -> Output:
        """Train to the end, from the newest checkpoint if there is one."""
        ...

    def train(self, work: CorpusJob, *, rank: int, world_size: int, device: str | None) -> None:
        """Train as one of several workers; the first one leaves checkpoints, and in the end the result."""
        ...


@dataclass(frozen=True)
class StageSpec:
    """A stage, declared. `compute` is named, not imported, so that a driver never loads torch."""

    name: str
    version: int
    """Raised by hand when the code changes what the stage computes."""
    reads: Mapping[str, Port]
    """What it reads, by role: a compute finds its inputs under these names."""
    writes: str
    """The kind of what it makes, see `stages.kinds`."""
    recipe: type[Recipe]
    run: type[RunOptions]
    compute: str
    """`"package.module:Class"`."""
    uses: frozenset[Use] = EVERY_USE
    """The sources that pass through it, by what they are for."""
    narrow: Callable[[Any], frozenset[Use]] | None = None
    """Those of them that pass where the recipe decides; None for all."""
    grain: Grain = "shard"
    workers: Workers = "one"
    model: Role | None = None
    """What the recipe's `model` has to be, see `stages.models.family`; None where it names none."""
    models: Mapping[str, Role] = field(default_factory=dict)
    """The same of further fields of the recipe that name models, by field."""
    exports: Mapping[str, str] = field(default_factory=dict)
    """What writes its model as other programs have it, by format: `"package.module:function"`, which may need torch."""
    check: Check | None = None
    """What no single key shows; it costs as little to import as the rest."""
    placed: type[RunOptions] | None = None
    """The run options with the places `images` and `removed` of a source, if the stage is to know them."""
    implied: bool = False
    """Whether it runs where the manifest has no section for it, too."""

    @property
    def at_once(self) -> bool:
        """Whether it reads all shards at once, of a source or of all."""
        return self.grain in {"source", "run"}
