"""Commands that look: `plan`, `status`, `query`, `validate`. None writes anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import (
    Changes,
    Json,
    Limit,
    ManifestPath,
    Target,
    Until,
    told,
)
from pipeline.watch.console import Console, records, say, say_json
from stages.errors import UserError
from stages.words import first_line

if TYPE_CHECKING:
    from pipeline.session import Session

commands = typer.Typer()


@commands.command()
def plan(  # noqa: PLR0913, PLR0917 - the command's options
    manifest: ManifestPath,
    until: Until = None,
    limit: Limit = None,
    picture: Annotated[  # noqa: FBT002
        bool, typer.Option("--picture", help="Print the steps as a flow chart, in Mermaid; their lists are not read.")
    ] = False,
    changes: Changes = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Say what a run would do, and what makes it necessary; nothing is written."""
    from pipeline.session import graph_alone, open_session
    from pipeline.watch.picture import mermaid
    from pipeline.watch.report import plan_rows, print_plan

    if picture:
        say(mermaid(*graph_alone(manifest, changes or ())))
        return
    session = told(open_session(manifest, until, limit=limit, changes=changes or (), write=False))
    if as_json:
        say_json(plan_rows(session.plans))
    else:
        print_plan(Console(), session.plans)


@commands.command()
def status(target: Target, changes: Changes = None, as_json: Json = False) -> None:  # noqa: FBT002
    """Say how far the run is, what it has lost and why, and which shards failed."""
    from pipeline.session import open_output
    from pipeline.sql.damage import STUMBLES

    session = told(open_output(target, changes or ()))
    try:
        _show(session, as_json=as_json)
    except STUMBLES as error:
        raise UserError(f"output: {session.store.root}: its tables cannot be read ({first_line(error)})") from None


def _show(session: Session, *, as_json: bool) -> None:
    """Print what `status` says."""
    from pipeline.dag.damaged import damaged_files
    from pipeline.sql.catalog import connect
    from pipeline.watch import report
    from pipeline.watch.answering import answering
    from pipeline.watch.captioning import captioning
    from pipeline.watch.outcome import print_status
    from pipeline.watch.runs import runs

    catalog = connect(session.graph, session.store)
    if as_json:
        say_json(
            {
                "runs": runs(session.store),
                "stages": report.plan_rows(session.plans),
                "funnel": report.funnel(catalog),
                "losses": report.losses(catalog),
                "hosts": report.worst_hosts(catalog),
                "retrieval": report.retrieval(catalog),
                "captioning": captioning(catalog),
                "answering": answering(catalog),
                "failed": report.failed_shards(session),
                "damaged": damaged_files(session.graph, session.store),
            }
        )
        return
    print_status(session, catalog)


@commands.command()
def query(
    target: Target,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="For example: SELECT * FROM corpus LIMIT 5")],
    changes: Changes = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Ask the tables with SQL (DuckDB): captions, corpus, images, failures, hosts, funnel, ..."""
    from pipeline.session import open_output
    from pipeline.sql.catalog import connect
    from pipeline.sql.catalog import query as ask
    from pipeline.sql.damage import STUMBLES
    from pipeline.watch.outcome import print_rows

    session = told(open_output(target, changes or ()))
    try:
        columns, rows = ask(connect(session.graph, session.store, session.others()), sql)
    except STUMBLES as error:
        raise UserError(f"the query is wrong: {first_line(error)}") from None
    if as_json:
        say_json(records(columns, rows))
    else:
        print_rows(columns, rows)


@commands.command()
def validate(manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...")], changes: Changes = None) -> None:
    """Check manifests without looking at their sources."""
    from pipeline.manifest.load import load_manifest

    wrong = []
    for path in manifests:
        try:
            load_manifest(path, changes or ())
        except UserError as error:
            wrong.append(str(error))
        else:
            say(f"{path}: fine")
    if wrong:
        raise UserError("\n".join(wrong))
