"""`capfilt export`: the trained Q-Former or the corpus in formats that other programs read."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from pipeline.export_corpus import export_pairs, export_tars
from pipeline.plan import CORPUS_SHARD
from pipeline.session import Session
from pipeline.worker import load_compute
from stages.errors import UserError
from stages.export.job import TrainedModel
from stages.pretrain.result import WEIGHTS
from stages.pretrain.spec import PretrainRecipe

_MODELS = {"hf": "stages.export.hugging_face:export", "lavis": "stages.export.lavis:export"}
"""What writes a model; it needs torch, so it is named here and imported where it runs."""
_CORPUS = {"webdataset": export_tars, "json": export_pairs}


def export(session: Session, to: str, destination: str, console: Console) -> dict[str, Any]:
    """Write one format.

    Args:
        session: the opened manifest.
        to: `hf`, `lavis`, `webdataset` or `json`.
        destination: a local path or an fsspec URL.
        console: where progress goes.

    Returns:
        The outcome: format, destination, notes for the user, what failed, and counts.

    Raises:
        UserError: what is to be exported is not done yet, or cannot be expressed in that format.
    """
    outcome: dict[str, Any] = {"format": to, "destination": destination, "failed": []}
    if to in _CORPUS:
        return outcome | _CORPUS[to](session, destination, console)
    return outcome | {"notes": load_compute(_MODELS[to])(_trained(session), destination)}


def _trained(session: Session) -> TrainedModel:
    """The finished training of a manifest."""
    plans = [plan for plan in session.plans if plan.node.spec.name == "pretrain"]
    if not plans:
        raise UserError("there is no 'pretrain' section, so no model to export; export the corpus: webdataset or json")
    node = plans[0].node
    if not plans[0].is_done:
        raise UserError(f"pretrain is not done ({plans[0].reason}); finish it with `capfilt run`, then export")
    recipe = node.recipe
    assert isinstance(recipe, PretrainRecipe)
    folder = session.store.folder(node.spec.name, node.fingerprint)
    return TrainedModel(
        weights=session.store.artifact(folder, CORPUS_SHARD).side(WEIGHTS),
        model=recipe.model,
        pretrained=recipe.pretrained,
        revision=recipe.revision,
        tokenizer=recipe.tokenizer,
        tokenizer_revision=recipe.tokenizer_revision,
    )
