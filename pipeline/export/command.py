"""`capfilt export`: a trained model or the corpus in formats that other programs read."""

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
from stages.export.job import NoPlaceError, TrainedFolder, TrainedModel
from stages.pretrain.spec import PretrainRecipe
from stages.tables import CHECKPOINT, WEIGHTS_FILE

_FILES: Final = frozenset({"lavis", "pth"})
"""Formats of one file."""
_CORPUS: Final = {"webdataset": export_tars, "json": export_pairs}
_LAYOUTS: Final = {"hf": 1, "lavis": 1, "pth": 1}
"""By format; raised by hand when the files are written otherwise than before."""


def export(  # noqa: PLR0913 - what the command is given
    session: Session,
    to: str,
    destination: str,
    console: Console,
    *,
    manifest: str,
    step: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write one format, or bring it up to date.

    Args:
        session: the opened manifest.
        to: `hf`, `lavis`, `pth`, `webdataset` or `json`.
        destination: a local path or an fsspec URL.
        console: where progress goes.
        manifest: what the command was given, which an export must not replace.
        step: whose model is exported, where there are several.
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
        if step is not None:
            raise UserError(f"--step: {to} is a format of the corpus, which no single step makes; leave it out")
        return outcome | write(session, destination, console, overwrite=overwrite)
    return outcome | _export_model(_trained(session, to, step), session, to, destination, overwrite=overwrite)


def _export_model(node: Node, session: Session, to: str, destination: str, *, overwrite: bool) -> dict[str, Any]:
    subject = Subject.of(session.graph, [node], to, _LAYOUTS[to])
    export = claim(Target.of(destination, one_file=to in _FILES), subject, overwrite=overwrite)
    table = session.store.artifact(session.store.folder_of(node), node.whole)
    made_of = {node.whole: tables_of([table])}
    if export.is_made_of(made_of):
        return {"written": False, "notes": []}
    job, write = _job(session, node), load_compute(node.spec.exports[to])
    try:
        with export.anew(made_of) as place:
            notes = write(job, place)
    except NoPlaceError as error:
        raise UserError(f"{error}; {_instead(node, to, job)}") from None
    return {"written": True, "notes": notes}


def _instead(node: Node, to: str, job: TrainedModel | TrainedFolder) -> str:
    """What to do with a Q-Former that a format cannot carry."""
    (other,) = (name for name in node.spec.exports if name != to)
    module = node.spec.exports[other].partition(":")[0]
    carries = load_compute(f"{module}:carries")(job)
    return f"export to {other}" if carries else f"an export to {other} cannot carry it either"


def _trained(session: Session, to: str, step: str | None) -> Node:
    """The node of a finished training whose model has that format.

    Raises:
        UserError: there is none, or there are several and nobody says which; or it is not done.
    """
    plans = [plan for plan in session.plans if to in plan.node.spec.exports]
    names = ", ".join(plan.node.name for plan in plans)
    if step is not None and not (plans := [plan for plan in plans if plan.node.name == step]):
        raise UserError(f"--step: '{step}' makes no model that {to} is a format of; those that do: {names or 'none'}")
    if not plans:
        raise UserError(f"no section makes a model that {to} is a format of; export the corpus: webdataset or json")
    if len(plans) > 1:
        raise UserError(f"several steps make a model that {to} is a format of: {names}; say which with --step")
    plan = plans[0]
    if not plan.is_done:
        raise UserError(f"{plan.node.name} is not done ({plan.reason}); finish it with `capfilt run`, then export")
    return plan.node


def _job(session: Session, node: Node) -> TrainedModel | TrainedFolder:
    recipe, model = node.recipe, session.store.artifact(session.store.folder_of(node), node.whole).side(CHECKPOINT)
    if not isinstance(recipe, PretrainRecipe):
        return TrainedFolder(model)
    return TrainedModel(
        weights=f"{model}/{WEIGHTS_FILE}",
        model=recipe.model,
        pretrained=recipe.pretrained,
        revision=recipe.revision,
        tokenizer=recipe.tokenizer,
        tokenizer_revision=recipe.tokenizer_revision,
    )
