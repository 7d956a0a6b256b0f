"""The command: `capfilt run | retry | plan | status | query | compact | export | forget | clean | validate`.

Exit codes: 0 done, 1 finished with failures, 2 wrong manifest or usage, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.watch.console import Console, records, say, say_json, single_line
from stages.errors import DamagedError, UserError
from stages.words import first_line

if TYPE_CHECKING:
    from pipeline.session import Session

app = typer.Typer(
    help="Turn noisy web image-text pairs into a better corpus: caption, rank, filter, select, pretrain, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A YAML file; manifests/ holds examples.")]
Target = Annotated[
    str, typer.Argument(metavar="MANIFEST|OUTPUT", help="A manifest that has been run, or an output alone.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="Take so many rows of every source; more of them another time."),
]
Refresh = Annotated[
    list[str] | None,
    typer.Option(
        "--refresh", metavar="STEP", help="Train this model anew, whose data has changed since it was trained."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for programs.")]
Until = Annotated[str | None, typer.Option("--until", metavar="STEP", help="Stop after this step.")]

FINISHED_WITH_FAILURES = 1
USER_ERROR = 2
INTERRUPTED = 130


class ExecutorName(StrEnum):
    """Where shards are worked."""

    ray = "ray"
    local = "local"


RunExecutor = Annotated[ExecutorName, typer.Option("--executor", help="Ray actors, or this process.")]
Address = Annotated[
    str | None, typer.Option("--address", help="An existing Ray cluster; without it one is started here.")
]


class ExportFormat(StrEnum):
    """What other programs read."""

    hf = "hf"
    lavis = "lavis"
    webdataset = "webdataset"
    json = "json"


@app.command()
def run(  # noqa: PLR0913, PLR0917 - a command's options
    manifest: ManifestPath,
    executor: RunExecutor = ExecutorName.ray,
    address: Address = None,
    until: Until = None,
    limit: Limit = None,
    refresh: Refresh = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Work everything that the manifest asks for and that is not done yet."""
    from pipeline.limit import cut_up_to
    from pipeline.session import open_session

    opened = partial(open_session, manifest, until, limit=limit, refresh=refresh or ())
    _work(opened if limit is None else partial(cut_up_to, opened), executor, address, as_json=as_json)


@app.command()
def retry(  # noqa: PLR0913, PLR0917 - a command's options
    target: Target,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS,...", help="The reasons meant, such as timeout,http_later; else all that may pass."
        ),
    ] = None,
    until: Until = None,
    executor: RunExecutor = ExecutorName.ray,
    address: Address = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Try rows of finished shards again that failed, and work what follows from the images that come.

    Keys stay, and so does all that is done. Not while a run of the same output is under way.
    """
    from pipeline.session import open_output
    from pipeline.upkeep.retry import mark, statuses_of

    marked = mark(_told(open_output(target)), statuses_of(status))
    say(f"{marked.rows} rows of {marked.shards} shards are tried again", err=True)
    _work(lambda: open_output(target).until(until), executor, address, as_json=as_json)


def _work(opened: Callable[[], Session], executor: ExecutorName, address: str | None, *, as_json: bool) -> None:
    """Work what is left of a session, and tell what became of it."""
    from pipeline.execute.execution import RunLostError
    from pipeline.execute.stop import Stopped, stop_at_sigterm
    from pipeline.run import run_session

    if address and executor is ExecutorName.local:
        raise UserError("--address names a Ray cluster; leave out --executor local")
    stop_at_sigterm()
    try:
        outcome = run_session(_cleared(opened), executor=executor.value, address=address, console=Console(stderr=True))
    except KeyboardInterrupt as stop:
        say("capfilt: interrupted; the same command goes on where this one stopped", err=True)
        raise typer.Exit(stop.exit_code if isinstance(stop, Stopped) else INTERRUPTED) from None
    except RunLostError as loss:
        say(f"capfilt: {loss}", err=True)
        raise typer.Exit(FINISHED_WITH_FAILURES) from None
    _print_outcome(outcome, as_json=as_json)
    if outcome["failed"] or outcome["blocked"] or outcome["not_forgotten"]:
        raise typer.Exit(FINISHED_WITH_FAILURES)


def _cleared(opened: Callable[[], Session]) -> Session:
    """A session of an output that has been cleared of what is on the removal list."""
    from pipeline.upkeep.forget import apply_list

    session = opened()
    done = apply_list(session.store, session.removed)
    for model in done.models:
        say(model.words, err=True)
    return opened() if done.tables else session  # where rows went, other listings count


@app.command()
def plan(
    manifest: ManifestPath,
    until: Until = None,
    limit: Limit = None,
    picture: Annotated[  # noqa: FBT002
        bool, typer.Option("--picture", help="Print the steps as a flow chart, in Mermaid; their lists are not read.")
    ] = False,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Say what a run would do, and what makes it necessary; nothing is written."""
    from pipeline.session import graph_alone, open_session
    from pipeline.watch.picture import mermaid
    from pipeline.watch.report import plan_rows, print_plan

    if picture:
        say(mermaid(*graph_alone(manifest)))
        return
    session = _told(open_session(manifest, until, limit=limit, write=False))
    if as_json:
        say_json(plan_rows(session.plans))
    else:
        print_plan(Console(), session.plans)


@app.command()
def status(target: Target, as_json: Json = False) -> None:  # noqa: FBT002
    """Say how far the run is, what it has lost and why, and which shards failed."""
    from pipeline.dag.damaged import damaged_files
    from pipeline.session import open_output
    from pipeline.sql.catalog import connect
    from pipeline.watch import report

    session = _told(open_output(target))
    catalog = connect(session.graph, session.store)
    if as_json:
        say_json(
            {
                "runs": session.store.runs(),
                "stages": report.plan_rows(session.plans),
                "funnel": report.funnel(catalog),
                "losses": report.losses(catalog),
                "hosts": report.worst_hosts(catalog),
                "retrieval": report.retrieval(catalog),
                "failed": report.failed_shards(session),
                "damaged": damaged_files(session.graph, session.store),
            }
        )
        return
    console = Console()
    report.print_runs(console, session.store.runs())
    report.print_plan(console, session.plans)
    console.print()
    report.print_funnel(console, catalog, _measured(session))
    report.print_worst_hosts(console, report.worst_hosts(catalog))
    report.print_retrieval(console, report.retrieval(catalog))
    report.print_damaged(console, damaged_files(session.graph, session.store))
    report.print_failed_shards(console, session)


@app.command()
def query(
    target: Target,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="For example: SELECT * FROM corpus LIMIT 5")],
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Ask the tables with SQL (DuckDB): captions, corpus, images, failures, hosts, funnel, ..."""
    import duckdb

    from pipeline.session import open_output
    from pipeline.sql.catalog import connect
    from pipeline.sql.catalog import query as ask

    session = _told(open_output(target))
    try:
        columns, rows = ask(connect(session.graph, session.store, session.others()), sql)
    except duckdb.Error as error:
        raise UserError(f"the query is wrong: {first_line(error)}") from None
    if as_json:
        say_json(records(columns, rows))
    else:
        _print_rows(columns, rows)


@app.command()
def compact(target: Target, as_json: Json = False) -> None:  # noqa: FBT002
    """Write the tables of many shards once more as few large ones, which queries then read, in seconds.

    A run does it at its end where a stage has a thousand new tables. Not while a retry or a forget is under way.
    """
    from dataclasses import asdict

    from pipeline.session import open_output
    from pipeline.sql.catalog import write_catalog
    from pipeline.sql.compaction import compact as put_together

    session = _told(open_output(target))
    done = put_together(session.graph, session.store)
    write_catalog(session.graph, session.store, session.others())
    if as_json:
        say_json(asdict(done))
    else:
        say(f"{done.shards} tables read, {done.files} large tables written")


@app.command()
def export(
    target: Target,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A local path, or an fsspec URL.")],
    to: Annotated[
        ExportFormat,
        typer.Option(
            help="hf: the Q-Former as a folder for transformers' Blip2ForImageTextRetrieval; lavis: the same as a .pth "
            "file for LAVIS; webdataset: the corpus as tars with ranked captions; json: the corpus as BLIP's list."
        ),
    ],
    overwrite: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--overwrite", help="Replace a file that is no export of this; of a folder, what exports wrote."),
    ] = False,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Write the trained Q-Former, or the corpus, in a format that other programs read.

    An export that is there is brought up to date: what retries brought comes in, what was forgotten goes.
    """
    from pipeline.export.command import export as write
    from pipeline.session import open_output

    try:
        session, console = _told(open_output(target)), Console(stderr=True)
        outcome = write(session, to.value, destination, console, manifest=target, overwrite=overwrite)
    except KeyboardInterrupt:
        say("capfilt: interrupted; the same command goes on where this one stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        say_json(outcome)
    else:
        told = f"wrote {destination}" if outcome["written"] else f"{destination} is up to date"
        for note in (told, *outcome["notes"]):
            say(note)
        for failure in outcome["failed"]:
            say(f"failed: {failure['shard']}: {failure['error']}", err=True)
    if outcome["failed"]:
        raise typer.Exit(FINISHED_WITH_FAILURES)


@app.command()
def forget(
    target: Target,
    entries: Annotated[list[str] | None, typer.Argument(metavar="URL_OR_SUM...")] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="More of them: text, one a line; CSV, TSV, JSON lines or Parquet."),
    ] = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Put images on the manifest's removal list, and take them out of everything that is committed.

    A sum is the sha256 or the md5 of the bytes as they came. Without any entry, the list is applied as it is. Not
    while a run of the same output is under way.
    """
    from dataclasses import asdict

    from pipeline.export.remembered import outdated
    from pipeline.session import removals_of
    from pipeline.sql.catalog import renew_catalog
    from pipeline.upkeep.forget import Forgotten, entries_of
    from pipeline.upkeep.forget import forget as clear

    store, removal_list = removals_of(target)
    named, odd = entries_of(entries or [], listed)
    done: Forgotten = clear(store, removal_list, named)
    done.odd = [*odd, *done.odd]
    exports, unreadable = outdated(store)
    done.odd += unreadable
    if done.tables:
        try:
            renew_catalog(store)
        except DamagedError as error:  # all else has been cleared
            done.note(error.url, error)
    if as_json:
        known = [asdict(found) for found in exports]
        say_json({**asdict(done), "elsewhere": sorted(done.elsewhere), "exports": known})
    else:
        say(f"{len(done.added)} new on {removal_list}")
        say(f"{done.rows} rows are on it; {done.images} images taken out, {done.tables} tables written anew")
        for tar in sorted(done.elsewhere):
            say(f"still in a tar of the source's own, which is not capfilt's to change: {tar}")
        for model in done.models:
            say(model.words)
        for found in exports:
            again = shlex.join(["capfilt", "export", target, found.destination, "--to", found.format])
            say(f"an export is out of date until it is made again: {again}")
        for words in (*done.odd, *done.failed.values()):
            say(words, err=True)
    if done.odd or done.failed:
        raise typer.Exit(FINISHED_WITH_FAILURES)


@app.command()
def clean(
    target: Target,
    older_than: Annotated[
        float, typer.Option(metavar="MINUTES", min=0, help="What is younger may belong to a run under way.")
    ] = 60.0,
    unused: Annotated[  # noqa: FBT002
        bool, typer.Option("--unused", help="Also results that no manifest asks for that was run here.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and leave it.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Remove what died attempts have left: files that are not whole or that no table names, scratch folders here."""
    from dataclasses import asdict

    from pipeline.session import open_output
    from pipeline.upkeep.clean import age_of
    from pipeline.upkeep.clean import clean as remove

    age = age_of(older_than)
    session = _told(open_output(target))
    keep = {session.store.folder_of(node) for graph in session.graphs() for node in graph.nodes.values()}
    found = remove(session.store, older_than=age, keep=keep if unused else None, dry_run=dry_run)
    if as_json:
        say_json(asdict(found))
        return
    for path in (*found.unused, *found.strays):
        say(path)
    would = "would be removed" if dry_run else "removed"
    say(f"{len(found.unused)} results and {len(found.strays)} strays {would}, {found.bytes / 1e6:,.1f} MB")


@app.command()
def validate(manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...")]) -> None:
    """Check manifests without looking at their sources."""
    from pipeline.manifest.load import load_manifest

    wrong = []
    for path in manifests:
        try:
            load_manifest(path)
        except UserError as error:
            wrong.append(str(error))
        else:
            say(f"{path}: fine")
    if wrong:
        raise UserError("\n".join(wrong))


def _told(session: Session) -> Session:
    """A session, of which the user is told what there is to say."""
    for note in session.notes:
        say(note, err=True)
    return session


def _measured(session: Session) -> set[str]:
    """The sources that are measured on, and do not go all the way."""
    return {name for name, use in session.uses.items() if use == "measure"}


def main() -> None:
    """Run the command; a user's mistake is one line on standard error, never a traceback."""
    try:
        app()
    except UserError as error:
        for line in str(error).splitlines():
            say(f"capfilt: {line}", err=True)
        sys.exit(USER_ERROR)


def _print_outcome(outcome: dict[str, Any], *, as_json: bool) -> None:
    session, views = outcome.pop("session"), outcome.pop("views")
    if as_json:
        say_json(outcome)
        return
    from pipeline.watch.report import (
        print_blocked,
        print_damaged,
        print_failed_shards,
        print_funnel,
        print_retrieval,
        print_stopped,
    )

    console = Console()
    console.print(outcome["summary"])
    console.print()
    print_funnel(console, views, _measured(session))
    print_retrieval(console, outcome["retrieval"])
    print_damaged(Console(stderr=True), outcome["damaged"])
    print_failed_shards(Console(stderr=True), session)
    print_stopped(Console(stderr=True), outcome["stopped"])
    print_blocked(Console(stderr=True), session.graph, outcome["blocked"], outcome["failed"])
    for words in outcome["not_forgotten"]:
        say(words, err=True)
    console.print(f"\ntables: {outcome['output']}\nask them: duckdb {shlex.quote(outcome['catalog'])}", soft_wrap=True)


def _print_rows(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(single_line(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    # a terminal wraps at its own width; elsewhere a row is a line
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"  # the tables hold single precision; more digits would mean nothing
    return "" if value is None else single_line(str(value))


if __name__ == "__main__":
    main()
