"""`capfilt export`: the trained Q-Former or the corpus in formats that other programs read."""

from __future__ import annotations

from typing import Any, Final

from pipeline.dag.graph import Node
from pipeline.execute.worker import load_compute
from pipeline.export.corpus import export_pairs
from pipeline.export.mark import Subject, tables_of
from pipeline.export.own import refuse_own
from pipeline.export.place import Target
from pipeline.export.target import claim
from pipeline.export.tars import export_tars
from pipeline.session import Session
from pipeline.watch.console import Console
from stages.errors import UserError
from stages.export.job import NoPlaceError, TrainedModel
from stages.pretrain.spec import PretrainRecipe
from stages.tables import CHECKPOINT
from stages.training.result import WEIGHTS

_MODELS: Final = {"hf": "stages.export.hugging_face", "lavis": "stages.export.lavis"}
"""The module that writes a model; it needs torch, so it is named here and imported where it runs."""
_CORPUS: Final = {"webdataset": export_tars, "json": export_pairs}
_LAYOUTS: Final = {"hf": 1, "lavis": 1}
"""By format; raised by hand when the files are written otherwise than before."""


def export(  # noqa: PLR0913 - what the command is given
    session: Session, to: str, destination: str, console: Console, *, manifest: str, overwrite: bool = False
) -> dict[str, Any]:
    """Write one format, or bring it up to date.

    Args:
        session: the opened manifest.
        to: `hf`, `lavis`, `webdataset` or `json`.
        destination: a local path or an fsspec URL.
        console: where progress goes.
        manifest: what the command was given, which an export must not replace.
        overwrite: replace something else that lies there.

    Returns:
        The outcome: format, destination, whether anything was written, notes for the user, what failed, and counts.

    Raises:
        UserError: what is to be exported is not done yet, or cannot be expressed in that format, or something else
            lies at the destination.
    """
    refuse_own(session.graph, session.store, destination, manifest)
    outcome: dict[str, Any] = {"format": to, "destination": destination, "failed": []}
    write = _CORPUS.get(to)
    if write is not None:
        return outcome | write(session, destination, console, overwrite=overwrite)
    return outcome | _export_model(session, to, destination, overwrite=overwrite)


def _export_model(session: Session, to: str, destination: str, *, overwrite: bool) -> dict[str, Any]:
    node = _trained(session)
    subject = Subject.of(session.graph, [node], to, _LAYOUTS[to])
    export = claim(Target.of(destination, one_file=to == "lavis"), subject, overwrite=overwrite)
    table = session.store.artifact(session.store.folder_of(node), node.whole)
    made_of = {node.whole: tables_of([table])}
    if export.is_made_of(made_of):
        return {"written": False, "notes": []}
    job, write = _job(session, node), load_compute(f"{_MODELS[to]}:export")
    try:
        with export.anew(made_of) as place:
            notes = write(job, place)
    except NoPlaceError as error:
        raise UserError(f"{error}; {_instead(to, job)}") from None
    return {"written": True, "notes": notes}


def _instead(to: str, job: TrainedModel) -> str:
    """What to do with a model that a format cannot carry."""
    (other,) = (name for name in _MODELS if name != to)
    carries = load_compute(f"{_MODELS[other]}:carries")(job)
    return f"export to {other}" if carries else f"an export to {other} cannot carry it either"


def _trained(session: Session) -> Node:
    """The node of a manifest's finished training."""
    plans = [plan for plan in session.plans if plan.node.spec.writes == "qformer"]
    if not plans:
        raise UserError("there is no 'pretrain' section, so no model to export; export the corpus: webdataset or json")
    if not plans[0].is_done:
        raise UserError(f"pretrain is not done ({plans[0].reason}); finish it with `capfilt run`, then export")
    return plans[0].node


def _job(session: Session, node: Node) -> TrainedModel:
    recipe = node.recipe
    assert isinstance(recipe, PretrainRecipe)
    folder = session.store.folder_of(node)
    return TrainedModel(
        weights=f"{session.store.artifact(folder, node.whole).side(CHECKPOINT)}/{WEIGHTS}",
        model=recipe.model,
        pretrained=recipe.pretrained,
        revision=recipe.revision,
        tokenizer=recipe.tokenizer,
        tokenizer_revision=recipe.tokenizer_revision,
    )
