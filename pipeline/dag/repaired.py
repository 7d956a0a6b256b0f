"""A file that could not be read, and then was repaired, belongs to the results that the others of its source have.

A source's fingerprint is made of the digests of its files. Where one of them failed, it stays what it was when the file
has been put right: what became of the others is not computed again for its sake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeline.dag.listing import PARTS
from pipeline.store import Store
from stages.urls.parts import Part
from stages.urls.spec import SPEC

DIGEST: Final = "digest"
"""What the listing of a cut file says in its metadata: the digest of what was cut."""


def content_of(store: Store, values: Mapping[str, Any], parts: Sequence[Part]) -> list[str]:
    """The digests that the fingerprint of a source is made of.

    Args:
        store: where it may have been cut before.
        values: all else that is hashed as its recipe.
        parts: its files, as they are now.
    """
    now = [part.digest for part in parts]
    found = now
    for name in store.fingerprints(SPEC.name):
        folder = store.folder(SPEC.name, name)
        recipe = store.recipe(folder)
        if recipe is None or not _is_alike(recipe["identity"], values):
            continue
        then: list[str] = recipe["identity"]["recipe"]["content"]
        if then == now:
            return now
        if _is_repaired(store, f"{folder}/{PARTS}", then, parts):
            found = then
    return found


def _is_alike(before: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether two identities differ in the content of the files alone, if at all."""
    return bool(before["version"] == SPEC.version and {**before["recipe"], "content": []} == {**values, "content": []})


def _is_repaired(store: Store, listings: str, then: Sequence[str], parts: Sequence[Part]) -> bool:
    """Whether every file is what it was, but for those that failed then or have been cut since as they are now."""
    if len(then) != len(parts):
        return False
    changed = [part for part, digest in zip(parts, then, strict=True) if part.digest != digest]
    cut, failed = store.committed(listings), store.failures(listings)
    return all(
        part.name in failed
        or (part.name in cut and store.artifact(listings, part.name).metadata().get(DIGEST) == part.digest)
        for part in changed
    )
