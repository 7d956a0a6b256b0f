"""What a compute is given to work on, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.contract.settings import Recipe
    from stages.io.shards import Artifact


@dataclass(frozen=True)
class Shard:
    """One unit of work as a compute gets it."""

    name: str
    inputs: Mapping[str, Artifact]
    """The committed artifact of every input stage, by stage name."""
    scratch: Path
    """An empty local folder for side files; it is removed after the commit."""
    retry: Retry | None = None
    """With a shard that was committed before: what of it to do again."""


@dataclass(frozen=True)
class Retry:
    """Rows of a committed shard that are to be tried again; all others stay what they are."""

    before: Artifact
    """The shard as it is committed."""
    statuses: frozenset[str]
    """The rows meant: those that ended in one of these."""


@dataclass(frozen=True)
class CorpusShard:
    """One shard of one source, as a stage gets it that reads all shards of all its sources at once."""

    source: str
    shard: str
    inputs: Mapping[str, Artifact]
    """The committed artifact of every input stage of that source, by stage name."""

    @property
    def urls(self) -> Artifact:
        """The rows of the source's list."""
        return self.inputs["urls"]

    @property
    def images(self) -> Artifact:
        """The images table, with its tar."""
        return self.inputs["download"]

    @property
    def captions(self) -> Artifact:
        """The candidates, whether the captioner or people wrote them."""
        return self.inputs.get("caption") or self.inputs["annotate"]

    @property
    def select(self) -> Artifact:
        """Which candidates are kept."""
        return self.inputs["select"]


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
    """What its input stages made that themselves read all shards at once, by stage name."""


@dataclass(frozen=True)
class Output:
    """What a compute makes of a shard."""

    table: pa.Table
    sides: Mapping[str, Path] = field(default_factory=dict)
    """Side files by ending (`{"tar": scratch / "images.tar"}`); committed beside the table, before it."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Side files that already lie elsewhere, by ending, as fsspec URLs; named in the metadata, not copied."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What happened, for the display and the table's metadata (`{"success": 9120, "timeout": 31}`)."""
