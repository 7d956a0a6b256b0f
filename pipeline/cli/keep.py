"""Commands that keep an output: `compact`, `export`, `forget`, `clean`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    FINISHED_WITH_FAILURES,
    INTERRUPTED,
    Changes,
    ExportFormat,
    Json,
    Target,
    told,
)
from pipeline.watch.console import Console, say, say_json
from stages.errors import DamagedError

commands = typer.Typer()


@commands.command()
def compact(target: Target, changes: Changes = None, as_json: Json = False) -> None:  # noqa: FBT002
    """Write the tables of many shards once more as few large ones, which queries then read, in seconds.

    A run does it at its end where a stage has a thousand new tables. Not while a retry or a forget is under way.
    """
    from dataclasses import asdict

    from pipeline.session import open_output
    from pipeline.sql.catalog import write_catalog
    from pipeline.sql.compaction import compact as put_together

    session = told(open_output(target, changes or ()))
    done = put_together(session.graph, session.store)
    write_catalog(session.graph, session.store, session.others())
    if as_json:
        say_json(asdict(done))
    else:
        say(f"{done.shards} tables read, {done.files} large tables written")


@commands.command()
def export(  # noqa: PLR0913, PLR0917 - the command's options
    target: Target,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A local path, or an fsspec URL.")],
    to: Annotated[
        ExportFormat,
        typer.Option(
            help="hf: a model as a folder for transformers; lavis: the Q-Former as a .pth file for LAVIS; pth: a BLIP "
            "as its own code has it; webdataset: the corpus as tars with ranked captions; json: the corpus as BLIP's "
            "list."
        ),
    ],
    step: Annotated[
        str | None, typer.Option("--step", help="Whose model, where several have the format.", metavar="STEP")
    ] = None,
    overwrite: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--overwrite", help="Replace a file that is no export of this; of a folder, what exports wrote."),
    ] = False,
    changes: Changes = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Write a trained model, or the corpus, in a format that other programs read.

    An export that is there is brought up to date: what retries brought comes in, what was forgotten goes.
    """
    from pipeline.export.command import export as write
    from pipeline.session import open_output

    try:
        session, console = told(open_output(target, changes or ())), Console(stderr=True)
        outcome = write(session, to.value, destination, console, manifest=target, step=step, overwrite=overwrite)
    except KeyboardInterrupt:
        say("capfilt: interrupted; the same command goes on where this one stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        say_json(outcome)
    else:
        done = f"wrote {destination}" if outcome["written"] else f"{destination} is up to date"
        for note in (done, *outcome["notes"]):
            say(note)
        for failure in outcome["failed"]:
            say(f"failed: {failure['shard']}: {failure['error']}", err=True)
    if outcome["failed"]:
        raise typer.Exit(FINISHED_WITH_FAILURES)


@commands.command()
def forget(
    target: Target,
    entries: Annotated[list[str] | None, typer.Argument(metavar="URL_OR_SUM...")] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="More of them: text, one a line; CSV, TSV, JSON lines or Parquet."),
    ] = None,
    changes: Changes = None,
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
    from pipeline.watch.outcome import print_forgotten

    store, removal_list = removals_of(target, changes or ())
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
        print_forgotten(done, removal_list, exports, target)
    if done.odd or done.failed:
        raise typer.Exit(FINISHED_WITH_FAILURES)


@commands.command()
def clean(  # noqa: PLR0913, PLR0917 - the command's options
    target: Target,
    older_than: Annotated[
        float, typer.Option(metavar="MINUTES", min=0, help="What is younger may belong to a run under way.")
    ] = 60.0,
    unused: Annotated[  # noqa: FBT002
        bool, typer.Option("--unused", help="Also results that no manifest asks for that was run here.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and leave it.")] = False,  # noqa: FBT002
    changes: Changes = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Remove what died attempts have left: files that are not whole or that no table names, scratch folders here.

    Also checkpoints of interrupted trainings that no run goes on with any more.
    """
    from dataclasses import asdict

    from pipeline.session import open_output
    from pipeline.upkeep.clean import age_of
    from pipeline.upkeep.clean import clean as remove

    age = age_of(older_than)
    session = told(open_output(target, changes or ()))
    keep = {session.store.folder_of(node) for graph in session.graphs() for node in graph.nodes.values()}
    found = remove(session.store, older_than=age, keep=keep if unused else None, dry_run=dry_run)
    if as_json:
        say_json(asdict(found))
        return
    for path in (*found.unused, *found.strays):
        say(path)
    would = "would be removed" if dry_run else "removed"
    say(f"{len(found.unused)} results and {len(found.strays)} strays {would}, {found.bytes / 1e6:,.1f} MB")
