"""What a compute is given to work on, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.contract.settings import Recipe
    from stages.io.shards import Artifact


OF_SOURCE: Final = "/"
"""Stands in the name of a count between what is counted and the source that it is counted of."""


@dataclass(frozen=True)
class Inputs:
    """Committed artifacts by role, as the stage's ports name them; no entry where there are none."""

    inputs: Mapping[str, tuple[Artifact, ...]]

    def all(self, role: str) -> tuple[Artifact, ...]:
        """Those of a role, in the order of the manifest; there may be none."""
        return self.inputs.get(role, ())

    def maybe(self, role: str) -> Artifact | None:
        """The one of a role, None where there is none."""
        found = self.all(role)
        return found[0] if found else None

    def one(self, role: str) -> Artifact:
        """The one of a role, which the stage cannot do without."""
        return self.inputs[role][0]


@dataclass(frozen=True)
class Shard(Inputs):
    """One unit of work as a compute gets it."""

    name: str
    scratch: Path
    """An empty local folder for side files; it is removed after the commit."""
    writer: str = ""
    """The fingerprint of what is made, by which others know whose it is."""


@dataclass(frozen=True)
class CorpusShard(Inputs):
    """One shard of one source, as a stage gets it that reads all shards of all its sources at once."""

    source: str
    shard: str


@dataclass(frozen=True)
class Result:
    """What a stage made that reads all shards at once, and the recipe that it was made by."""

    artifact: Artifact
    recipe: Recipe


@dataclass(frozen=True)
class CorpusJob:
    """What a stage gets that reads all shards of all its sources at once. Picklable."""

    corpus: tuple[CorpusShard, ...]
    """Source by source, each source's shards in order."""
    checkpoints: str
    """fsspec URL of a folder of this result alone, for what it resumes from; shared storage if several hosts work."""
    scratch: Path
    """An empty local folder for side files, on the host that commits."""
    results: Mapping[str, Result] = field(default_factory=dict)
    """What its input stages made that themselves read all shards of all sources at once, by role."""
    sources: tuple[str, ...] = ()
    """All sources that it is about, in the manifest's order; one of whose list no row is left has no shard above."""


@dataclass(frozen=True)
class Output:
    """What a compute makes of a shard."""

    table: pa.Table
    sides: Mapping[str, Path] = field(default_factory=dict)
    """Side files by ending (`{"tar": scratch / "images.tar"}`), or folders; committed beside the table, before it."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Side files that already lie elsewhere, by ending, as fsspec URLs; named in the metadata, not copied."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What happened, for the display and the table's metadata (`{"success": 9120, "timeout": 31}`). A model counts what
    it left out of its sources as `<reason>/<source>`."""
