"""What an export says of itself, in `export.json` in its folder or `<name>.export.json` beside its file.

It says what the export is of, which files it wrote, and of each shard which attempts at its tables they were made of:
so a later export can tell its own files from others', and what of them is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,  # which pydantic wants of older Pythons
    Self,
    TypeAlias,
)

from pydantic import AfterValidator, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pipeline.dag.fingerprint import fingerprint
from pipeline.dag.graph import Graph, Node
from stages.io.shards import Artifact

Tables: TypeAlias = Mapping[str, str]
"""The tables of a shard that an export reads: the attempt that each is of, by `<stage>/<fingerprint>`."""


@dataclass(frozen=True)
class Subject:
    """What an export is of."""

    format: str
    """`hf`, `lavis`, `pth`, `webdataset` or `json`."""
    layout: int
    """The number of the format's layout; raised by hand when files are written otherwise than before."""
    recipe: str
    """What stands for all settings that it was made by."""
    content: tuple[str, ...]
    """What stands for the files of its sources, sorted."""

    @classmethod
    def of(cls, graph: Graph, nodes: Sequence[Node], to: str, layout: int) -> Self:
        """The subject of an export of some nodes' results."""
        needed = graph.needed_by({node.name for node in nodes})
        above = [node for name, node in graph.nodes.items() if name in needed]
        recipes = {node.name: [node.identity["version"], node.identity["recipe"]] for node in above}
        content = {part.digest for node in above for part in node.parts}
        return cls(to, layout, fingerprint(recipes), tuple(sorted(content)))

    def is_same(self, other: Subject) -> bool:
        """Whether it is the same corpus or model: made in the same way, of sources that have files in common."""
        alike = (self.format, self.recipe) == (other.format, other.recipe)
        return alike and (self.content == other.content or not set(self.content).isdisjoint(other.content))


@dataclass
class ShardMark:
    """What was made of a shard."""

    tables: Tables
    file: str | None = None
    """The file that is its own; None where it has none."""


@dataclass
class Mark:
    """The content of the file."""

    subject: Subject
    files: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """By name: what was written, see `export_target`; None for one that is being written, or taken away."""
    shards: dict[str, ShardMark] = field(default_factory=dict)
    complete: bool = False
    """Whether the export has come to its end."""

    def dump(self) -> bytes:
        """The mark as JSON."""
        subject = asdict(self.subject)
        shards = {name: asdict(shard) for name, shard in self.shards.items()}
        return json.dumps(
            {**subject, "complete": self.complete, "files": self.files, "shards": shards}, indent=1
        ).encode()

    @classmethod
    def load(cls, content: bytes) -> Self | None:
        """The mark that these bytes are; None where they are none."""
        try:
            found = _CONTENT.validate_json(content, strict=True)
        except ValidationError:
            return None
        subject = Subject(found["format"], found["layout"], found["recipe"], found["content"])
        shards = {name: ShardMark(shard["tables"], shard["file"]) for name, shard in found["shards"].items()}
        return cls(
            subject, {name: _plain(record) for name, record in found["files"].items()}, shards, found["complete"]
        )


def _own_name(name: str) -> str:
    """A name of a file in the export; files elsewhere are not its to take away, whoever wrote this."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(name)
    return name


def _plain(record: _Record | None) -> dict[str, Any] | None:
    return None if record is None else {**record}


_Name: TypeAlias = Annotated[str, AfterValidator(_own_name)]


class _Record(TypedDict):
    """What was written of a file."""

    bytes: int
    sha256: NotRequired[str]
    images: NotRequired[int]
    broken: NotRequired[dict[str, str]]


class _Shard(TypedDict):
    tables: dict[str, str]
    file: _Name | None


class _Content(TypedDict):
    format: str
    layout: int
    recipe: str
    content: tuple[str, ...]
    complete: bool
    files: dict[_Name, _Record | None]
    shards: dict[str, _Shard]


_CONTENT: Final = TypeAdapter(_Content)


def tables_of(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Which attempts at these tables lie there now, by `<stage>/<fingerprint>`.

    Raises:
        OSError: one of them is gone, or cannot be read.
    """
    return {result_of(artifact): attempt_at(artifact) for artifact in artifacts}


def result_of(table: Artifact) -> str:
    """`<stage>/<fingerprint>` of a table."""
    return "/".join(table.url.rsplit("/", 3)[1:3])


def attempt_at(table: Artifact) -> str:
    """The attempt that left a committed table.

    Raises:
        OSError: it is gone, or cannot be read.
    """
    return table.metadata()["attempt"]
