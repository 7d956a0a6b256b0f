"""A manifest: the YAML file that says what is to be computed, from which sources, into which folder.

What changes a result stands directly under its stage; what only says where and how fast stands under that stage's
`run:`. Unknown keys are errors, and all errors of a file are told at once, each with its line.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, create_model

from pipeline.manifest.errors import Problem, describe_all, locate
from pipeline.manifest.yaml12 import parse
from stages.contract import Recipe, RunOptions, Seed, Settings, StageSpec
from stages.errors import UserError
from stages.registry import EVALUATION_CHAIN, HUMAN_CHAIN, STAGES, WEB_CHAIN
from stages.urls.spec import Source

OPTIONAL_STAGES = ("hash", "dedup", "filter", "pretrain", "evaluate")
"""Stages that run only where the manifest has a section for them."""

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
"""Part of every key, and of WebDataset member names, where a dot would end the key."""


class Demo(Settings):
    """The small world of the quickstart: written into `folder`, served on loopback while a run downloads."""

    folder: str
    images: Annotated[int, Field(ge=1, le=1_000_000)] = 480
    """Images on its web."""
    human: Annotated[int, Field(ge=0, le=1_000_000)] = 240
    """Human-annotated images beside it, in the layout of COCO."""
    seed: Seed = 0
    port: Annotated[int, Field(ge=1, le=65535)]
    """The loopback port of its web; it stands in the URLs."""


@dataclass(frozen=True)
class Manifest:
    """A validated manifest."""

    output: str
    sources: Mapping[str, Source]
    stages: Mapping[str, tuple[Recipe, RunOptions]]
    """What is to run, by stage name in the order of the DAG."""
    demo: Demo | None
    removed: str | None
    """The removal list (`stages.removals`); no part of any fingerprint."""
    evaluated: frozenset[str] = frozenset()
    """The sources that `evaluate` measures on. Nothing else reads them."""

    def chain(self, source: str) -> tuple[str, ...]:
        """The stages that the rows of a source pass through, one after the other."""
        if source in self.evaluated:
            return EVALUATION_CHAIN
        return HUMAN_CHAIN if self.sources[source].human else WEB_CHAIN

    def read_by(self, stage: str) -> frozenset[str]:
        """The sources that a stage reads which reads all shards at once."""
        return self.evaluated if stage == "evaluate" else frozenset(self.sources) - self.evaluated


def _section(spec: StageSpec) -> type[Recipe]:
    """A stage's section as it stands in the file: its recipe, and its run options under `run:`."""
    run: Any = (spec.run, Field(default_factory=spec.run))
    return create_model(f"{spec.name}_section", __base__=spec.recipe, run=run)


_SECTIONS: dict[str, type[Recipe]] = {name: _section(spec) for name, spec in STAGES.items()}
_SECTION_FIELDS: dict[str, Any] = {name: (section | None, None) for name, section in _SECTIONS.items()}

Document: type[Settings] = create_model(
    "Document",
    __base__=Settings,
    output=(Annotated[str, Field(min_length=1)], ...),
    demo=(Demo | None, None),
    removed=(Annotated[str, Field(min_length=1)] | None, None),
    sources=(Annotated[dict[SourceName, Source], Field(min_length=1)], ...),
    **_SECTION_FIELDS,
)
"""The file's own shape."""


def load_manifest(path: Path) -> Manifest:
    """Read and validate a manifest.

    Raises:
        UserError: the file is missing or wrong; one line per error, all of them.
    """
    root, values = parse(path, _read(path))
    try:
        document: Any = Document.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        problems = describe_all(error.errors(include_url=False), Document, root)
        raise UserError(locate(path, root, problems)) from None
    problems = _contradictions(document)
    if problems:
        raise UserError(locate(path, root, problems))
    return _manifest(document)


def _read(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; name the manifest, a YAML file")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name a manifest, for example manifests/quickstart.yaml") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; a manifest is YAML in UTF-8") from None
    except PermissionError:
        raise UserError(f"{path}: may not be read; check its permissions") from None


def _contradictions(document: Any) -> list[Problem]:
    """What no single key shows: sections that need one another."""
    problems = []
    web = [name for name, source in document.sources.items() if not source.human]
    problems += _evaluation_problems(document) + _mixture_problems(document)
    for stage in ("caption", "rank"):
        if web and getattr(document, stage) is None:
            problems.append(Problem((), f"missing section '{stage}'; the web source '{web[0]}' needs it"))
    problems += _dedup_problems(document)
    select = document.select or _SECTIONS["select"]()
    threshold = getattr(select, "itm_threshold", None)
    if web and document.filter is None and threshold is not None:
        message = f"found {threshold}, but there is no 'filter' section; add one, or set null to rank by CLIP alone"
        problems.append(Problem(("select", "itm_threshold"), message))
    return problems


def _dedup_problems(document: Any) -> list[Problem]:
    """Whether perceptual hashes are made where, and only where, something compares them."""
    near = document.dedup and document.dedup.near
    if near is not None and document.hash is None:
        return [Problem(("dedup", "near"), f"found {near}, but there is no 'hash' section; add 'hash: {{}}'")]
    if near is None and document.hash is not None:
        return [Problem(("hash",), "nothing reads these hashes; set 'dedup.near', or leave this section out")]
    return []


def _evaluation_problems(document: Any) -> list[Problem]:
    """Whether what is measured on is there, is annotated by people, and is not trained on."""
    if document.evaluate is None:
        return []
    problems = []
    if document.pretrain is None:
        problems.append(Problem((), "missing section 'pretrain'; 'evaluate' measures what it trains"))
    sources, named = document.sources, document.evaluate.sources
    trained = {name: source for name, source in sources.items() if name not in named}
    if not trained:
        problems.append(Problem(("evaluate", "sources"), "takes every source; pretrain needs one to train on"))
    for position, name in enumerate(named):
        here = ("evaluate", "sources", position)
        if name not in sources:
            problems.append(Problem(here, f'found "{name}"; must be one of the sources {", ".join(sources)}'))
        elif not sources[name].human:
            problems.append(
                Problem(here, f'found "{name}", whose texts are the web\'s; name a source that people annotated')
            )
        else:
            problems += [_trained_on(other, name) for other in trained if sources[name].overlaps(trained[other])]
    return problems


def _mixture_problems(document: Any) -> list[Problem]:
    """Whether the mixture gives a share to every source that is trained on, and to no other."""
    mixture = document.pretrain and document.pretrain.mixture
    if mixture is None:
        return []
    evaluated = document.evaluate.sources if document.evaluate else ()
    trained = [name for name in document.sources if name not in evaluated]
    here, known = ("pretrain", "mixture"), ", ".join(trained)
    problems = [
        Problem((*here, name), f"{_why_untrained(name, evaluated)}; the sources to train on are {known}")
        for name in mixture
        if name not in trained
    ]
    if missing := [name for name in trained if name not in mixture]:
        problems.append(Problem(here, f"has no share for {', '.join(missing)}; give each of {known} its share"))
    return problems


def _why_untrained(name: str, evaluated: Collection[str]) -> str:
    return "'evaluate' measures on it" if name in evaluated else "there is no such source"


def _trained_on(trained: str, evaluated: str) -> Problem:
    message = (
        f"its rows are also those of '{evaluated}', which 'evaluate' measures on and nothing may train on; "
        f"take other 'splits' here, or tell the two apart by 'where'"
    )
    return Problem(("sources", trained), message)


def _manifest(document: Any) -> Manifest:
    evaluated = frozenset(document.evaluate.sources if document.evaluate else ())
    manifest = Manifest(document.output, document.sources, {}, document.demo, document.removed, evaluated)
    used = {stage for source in manifest.sources for stage in manifest.chain(source)}
    stages = {}
    for name, spec in STAGES.items():
        section = getattr(document, name)
        if (spec.grain != "run" and name not in used) or (section is None and name in OPTIONAL_STAGES):
            continue
        values = (section or _SECTIONS[name]()).model_dump()
        run = values.pop("run")
        stages[name] = (spec.recipe.model_validate(values), spec.run.model_validate(run))
    return replace(manifest, stages=stages)
