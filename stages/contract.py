"""What a stage is: settings, inputs and one class that turns an input shard into an output table.

A stage knows no schedule, no retry, no path but the ones it is given, and no Ray. Its `spec.py` declares a `StageSpec`
and costs pydantic alone to import; its `compute.py` may import torch and is imported only where a shard is worked on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.io.shards import Artifact


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
    """What changes a stage's result. It is fingerprinted whole."""


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


Dtype = Literal["float32", "bfloat16", "float16"]


class ModelField:
    """Marks a recipe field that names a model, so that what is local can be fingerprinted by content, not by path."""


ModelName = Annotated[str, ModelField(), Field(min_length=1)]
"""A hub name, or a local folder in the same format."""


class PretrainedRecipe(Recipe):
    """The recipe of a stage that runs a published model."""

    model: ModelName
    revision: str | None = None
    """The hub commit (or tag) that is meant; None for a local folder, which is identified by its content."""
    dtype: Dtype = "float32"
    """The number format that the model computes in."""


class PairModelRecipe(PretrainedRecipe):
    """The recipe of a stage that runs a model of images and texts, or a part of one.

    `model` may also name an architecture of open_clip, such as `ViT-L-14-quickgelu`.
    """

    pretrained: Annotated[str | None, ModelField()] = None
    """Weights for open_clip: of an architecture a tag such as `openai`, or a local file such as `epoch_3.pt`; of a
    folder the file that is meant, where it has several. None where the model's place holds its weights."""


class QFormerRecipe(PairModelRecipe):
    """What a Q-Former reads images and texts with.

    `model` is a model whose image tower is read: any that open_clip loads, or one of images alone, such as DINOv2.
    `dtype` is what that tower computes in; with `bfloat16` the Q-Former uses it where that is safe.
    """

    tokenizer: ModelName = "google-bert/bert-base-uncased"
    """A hub name, or a local folder with a BERT tokenizer."""
    tokenizer_revision: str | None = None
    """The hub commit (or tag) that is meant; None for a local folder."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 32
    """Tokens that are read of a caption, its two marks included; BERT has 512 positions."""


class ModelRunOptions(RunOptions):
    """How a stage that runs a model does so."""

    device: str = "auto"
    """`auto` (a GPU where the worker has one), or a torch device such as `cpu` or `cuda:0`."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    """Images per forward pass."""
    threads: Threads | None = None
    """CPU threads of torch in one worker; None leaves torch's (or Ray's) choice."""


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


Scope = Literal["shard", "source", "corpus", "training"]
"""What a stage works at once: one shard of one source; all shards of one source and of those above it in the manifest
that pass through the stage too (`CorpusJob`); all shards of all its sources (`CorpusJob`); or those by several workers
that train together."""


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
    scope: Scope = "shard"
