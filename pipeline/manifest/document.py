"""The file's own shape: its top keys, and a section for every step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, create_model, field_validator

from stages.contract import Recipe, Seed, Settings, StageSpec
from stages.io.places import why_no_place
from stages.registry import STAGES
from stages.urls.spec import Source

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
"""Part of every key, and of WebDataset member names, where a dot would end the key."""
ROUNDS: Final = "rounds"
TIMES: Final = "times"


class Demo(Settings):
    """The small world of the quickstart: written into `folder`, served on loopback while a run downloads."""

    folder: str
    images: Annotated[int, Field(ge=1, le=1_000_000)] = 480
    """Images on its web."""
    human: Annotated[int, Field(ge=0, le=1_000_000)] = 240
    """Human-annotated images beside it, in the layout of COCO."""
    measured: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """More of these, all in the split `test`, where a tenth of the others is, too."""
    seed: Seed = 0
    port: Annotated[int, Field(ge=1, le=65535)]
    """The loopback port of its web; it stands in the URLs."""


class Top(Settings):
    """The keys of a manifest that are no steps."""

    output: Annotated[str, Field(min_length=1)]
    demo: Demo | None = None
    removed: Annotated[str, Field(min_length=1)] | None = None
    """The removal list (`stages.removals`); no part of any fingerprint."""
    sources: Annotated[dict[SourceName, Source], Field(min_length=1)]

    @field_validator("output")
    @classmethod
    def _a_place(cls, output: str) -> str:
        if why := why_no_place(output):
            raise ValueError(why)
        return output


def section(spec: StageSpec) -> type[Recipe]:
    """A step's section as it stands in the file: its recipe, its run options under `run:`, and how it is put in."""
    run: Any = (spec.run, Field(default_factory=spec.run))
    stage: Any = (Literal[tuple(STAGES)] | None, None)
    reads: Any = (tuple[str, ...] | None, None)
    return create_model(f"{spec.name}_section", __base__=spec.recipe, run=run, stage=stage, reads=reads)


def without_wiring(values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's part of a section's values."""
    return {name: value for name, value in values.items() if name not in {"run", "stage", "reads"}}


def document_type(values: Mapping[str, Any]) -> type[Settings]:
    """The shape of the file that has these values: a section for every stage, and for every name that says its own."""
    fields = _fields(values)
    fields[ROUNDS] = (_rounds(values.get(ROUNDS)) | None, None)
    return create_model("Document", __base__=Top, **fields)


def _rounds(values: Any) -> type[Settings]:
    times: Any = (Annotated[int, Field(ge=1, le=1000)], ...)
    fields = _fields(values) if isinstance(values, dict) else {}
    return create_model("Rounds", __base__=Settings, **{TIMES: times, **fields})


def stage_of(name: str, value: Any) -> str | None:
    """The stage of a section; None where nothing says it."""
    said = value.get("stage") if isinstance(value, dict) else None
    stage = name if said is None else said
    return stage if isinstance(stage, str) and stage in STAGES else None


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    free = {name: value for name, value in values.items() if _may_be_called(name)}
    named = {name: stage for name, value in free.items() if (stage := stage_of(name, value))}
    wrong = {name for name, value in free.items() if isinstance(value, dict) and "stage" in value} - set(named)
    known = {**{name: name for name in STAGES}, **named, **dict.fromkeys(wrong, "")}
    return {name: (_section(stage) | None, None) for name, stage in known.items()}


def _may_be_called(name: str) -> bool:
    """Whether a section may have a name: one that stands for something else here, or in pydantic, it may not."""
    known = {*Top.model_fields, ROUNDS, TIMES}
    return re.fullmatch(r"[a-z][a-z0-9_-]*", name) is not None and name not in known and not hasattr(Top, name)


def _section(stage: str) -> type[Settings]:
    """The section of a stage; of one that there is not, one that says so."""
    if stage:
        return section(STAGES[stage])
    choice: Any = (Literal[tuple(STAGES)], ...)
    return create_model("UnknownSection", __base__=Settings, stage=choice)
