"""What can be said of the models that a manifest names before anything is loaded: whether paths lead anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import absent_models, doubtful_models
from stages.errors import UserError

if TYPE_CHECKING:
    from pipeline.manifest.load import Manifest


def refuse_absent(path: Path, manifest: Manifest) -> None:
    """See that the models are there that are paths; those of the hub are looked for by who loads them.

    Raises:
        UserError: some are not; a line for each.
    """
    told = [
        f"{path}: {step.section}.{field}: no folder or file '{name}' here; name one that is, or a hub name ('org/name')"
        for step in manifest.steps
        for field, name in absent_models(step.recipe)
    ]
    if told:
        raise UserError("\n".join(dict.fromkeys(told)))


def doubts(manifest: Manifest) -> list[str]:
    """A line for every name that is taken for one of the hub's, and may have been meant for a folder here."""
    told = (
        f"{step.section}.{field}: '{name}' is taken for a name on the hub: there is a folder '{Path(name).parent}' "
        f"here, but no '{Path(name).name}' in it"
        for step in manifest.steps
        for field, name in doubtful_models(step.recipe)
    )
    return list(dict.fromkeys(told))
