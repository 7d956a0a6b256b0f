"""From a YAML file to a manifest: what is to be computed, from which sources, into which folder.

What changes a result stands directly under its step; what only says where and how fast stands under that step's `run:`.
Unknown keys are errors, and all errors of a file are told at once, each with its line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.dag.steps import Step
from pipeline.manifest.checks import contradictions, in_working_order
from pipeline.manifest.document import ROUNDS, Demo, document_type
from pipeline.manifest.errors import Problem, describe_all, locate
from pipeline.manifest.sections import steps_of, with_rounds
from pipeline.manifest.yaml12 import parse
from stages.contract import Use
from stages.errors import UserError
from stages.urls.spec import Source


@dataclass(frozen=True)
class Manifest:
    """A validated manifest."""

    output: str
    sources: Mapping[str, Source]
    steps: tuple[Step, ...]
    """What is to run, in an order that works, rounds written out."""
    demo: Demo | None
    removed: str | None
    """The removal list (`stages.removals`); no part of any fingerprint."""

    @property
    def uses(self) -> dict[str, Use]:
        """What the sources are for."""
        return {name: source.used for name, source in self.sources.items()}


def load_manifest(path: Path, changes: Sequence[str] = ()) -> Manifest:
    """Read and validate a manifest.

    Args:
        path: the file.
        changes: what to set in it, see `pipeline.manifest.changes`.

    Raises:
        UserError: the file is missing or wrong; one line per error, all of them.
    """
    root, values = parse(path, _read(path), changes)
    values = with_rounds(values)
    shape = document_type(values)
    try:
        document: Any = shape.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        problems = describe_all(error.errors(include_url=False), shape, root)
        raise UserError(locate(path, root, problems)) from None
    steps = tuple(in_working_order(document.sources, steps_of(document, values)))
    if problems := contradictions(document.sources, steps):
        problems += _of_order(values)
        raise UserError(locate(path, root, problems))
    return Manifest(document.output, document.sources, steps, document.demo, document.removed)


def _of_order(values: Mapping[str, Any]) -> list[Problem]:
    """What may be behind problems of a file with rounds whose keys have been sorted."""
    words = (
        "where there are rounds, the order of the sections counts, and here they stand in the order of the alphabet; "
        "put them in the order in which they work"
    )
    return [Problem((ROUNDS,), words)] if ROUNDS in values and list(values) == sorted(values) else []


def output_of(path: Path, changes: Sequence[str] = ()) -> str:
    """The output of a manifest, of which nothing else need be right.

    Raises:
        UserError: the file is no manifest.
    """
    _, values = parse(path, _read(path), changes)
    if not isinstance(values.get("output"), str):
        return load_manifest(path, changes).output  # which says what is wrong
    return str(values["output"])


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
