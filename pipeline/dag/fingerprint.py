"""The identity of a result: sixteen hex digits that depend on what was computed, never on where."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.dag.digests import Digests
from stages.contract import FROM, Recipe, StageSpec, WhichSources, model_fields, models_from, path_of


def fingerprint(identity: Any) -> str:
    """Sixteen hex digits of the sha256 of the canonical JSON of `identity`.

    Raises:
        TypeError: a value has no JSON form; a permissive `str()` would give another identity in every process.
    """
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def stage_identity(spec: StageSpec, recipe: dict[str, Any], inputs: dict[str, list[str]]) -> dict[str, Any]:
    """What is hashed for a step: its stage, that one's version, its recipe, and by role the fingerprints of its inputs.

    Not its name, so that renaming a section is free.
    """
    return {"stage": spec.name, "version": spec.version, "recipe": recipe, "inputs": inputs}


def recipe_identity(recipe: Recipe, digests: Digests) -> dict[str, Any]:
    """The recipe as JSON values, a local model (a folder or a file) named by its content.

    So the same weights in another folder, or on another host, give the same fingerprint, and a retrained model
    in the same folder gives another one.
    """
    local = {
        name: f"sha256:{digests.of([str(path)], 'model', partial(model_digest, path))}"
        for name, path in _local_models(recipe).items()
    }
    made = dict.fromkeys(models_from(recipe))  # it is an input, known by its fingerprint
    fields = type(recipe).model_fields.items()
    passing = {name for name, field in fields if any(isinstance(mark, WhichSources) for mark in field.metadata)}
    return {**recipe.model_dump(mode="json", exclude=passing), **local, **made}


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe as a worker with another working folder can follow it."""
    return recipe.model_copy(update={name: str(path.absolute()) for name, path in _local_models(recipe).items()})


def _local_models(recipe: Recipe) -> dict[str, Path]:
    """The models that lie in a local folder or file, by the recipe's field."""
    paths = {name: path_of(value) for name, value in model_fields(recipe) if not value.startswith(FROM)}
    return {name: path for name, path in paths.items() if path and path.exists()}


def model_digest(path: Path) -> str:
    """Hex sha256 of a file, or over the names and contents of all files below a folder."""
    return _folder_digest(path) if path.is_dir() else _file_digest(path)


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{_file_digest(path)}\n".encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
