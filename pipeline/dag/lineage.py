"""What was made of what in an output, under whatever manifest: every folder's recipe.json names its inputs."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.store import Store
from stages.errors import UserError
from stages.registry import STAGES

CHECKPOINTS = "checkpoints"
"""The folder below a node's in which a stage that reads all shards at once keeps what it needs to resume."""


def checkpoints_at(folder: str, data: str) -> str:
    """Where those lie of a node's folder, by what stands for the rows that it reads."""
    return f"{folder}/{CHECKPOINTS}/{data}"


@dataclass(frozen=True)
class Descendant:
    """What one stage made, directly or through others, of a result. Picklable."""

    stage: str
    url: str
    """Its folder."""
    at_once: bool
    """Whether it was made of all shards at once."""


def descendants(store: Store, fingerprint: str) -> tuple[Descendant, ...]:
    """All that was ever made of a result, nearest first.

    Raises:
        UserError: nobody can tell what a folder of the output was made of.
    """
    inputs = {name: _inputs(store, *name) for name in _results(store)}
    made: list[tuple[str, str]] = []
    known = {fingerprint}
    while more := [name for name, before in inputs.items() if name not in made and before & known]:
        made += more
        known.update(found for _, found in more)
    return tuple(Descendant(name, store.folder(name, found), STAGES[name].at_once) for name, found in made)


def _results(store: Store) -> list[tuple[str, str]]:
    return [(stage, found) for stage in STAGES for found in store.fingerprints(stage)]


def _inputs(store: Store, stage: str, fingerprint: str) -> frozenset[str]:
    """The fingerprints that a result was made of."""
    folder = store.folder(stage, fingerprint)
    recipe = store.recipe(folder)
    if recipe is None and not store.has_results(folder):
        return frozenset()
    if recipe is None:
        raise UserError(f"{folder} has lost its recipe.json, so nobody can tell what it was made of; delete it")
    return frozenset(found.partition("/")[0] for inputs in recipe["identity"]["inputs"].values() for found in inputs)
