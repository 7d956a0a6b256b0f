"""Commands that compute: `run` and `retry`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import (
    FINISHED_WITH_FAILURES,
    INTERRUPTED,
    Address,
    Changes,
    ExecutorName,
    Json,
    Limit,
    ManifestPath,
    Refresh,
    RunExecutor,
    Target,
    Until,
    told,
)
from pipeline.watch.console import Console, say, say_json
from stages.errors import UserError

if TYPE_CHECKING:
    from pipeline.session import Session

commands = typer.Typer()


@commands.command()
def run(  # noqa: PLR0913, PLR0917 - a command's options
    manifest: ManifestPath,
    executor: RunExecutor = ExecutorName.ray,
    address: Address = None,
    until: Until = None,
    limit: Limit = None,
    refresh: Refresh = None,
    changes: Changes = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Work everything that the manifest asks for and that is not done yet."""
    from pipeline.limit import cut_up_to
    from pipeline.session import open_session

    _refuse_address(executor, address)
    opened = partial(open_session, manifest, until, limit=limit, refresh=refresh or (), changes=changes or ())
    if limit is not None:
        opened = partial(cut_up_to, opened)
    _work(partial(_cleared, opened), executor, address, as_json=as_json)


@commands.command()
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
    changes: Changes = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Try rows of finished shards again that failed, and work what follows from the images that come.

    Keys stay, and so does all that is done. Not while a run of the same output is under way.
    """
    from pipeline.session import open_output
    from pipeline.upkeep.retry import mark, statuses_of

    _refuse_address(executor, address)
    opened = partial(open_output, target, changes or ())
    session, wanted = told(_cleared(opened)), statuses_of(status)
    session.until(until)  # a mistake is told before anything is marked
    marked = mark(session, wanted)
    say(f"{marked.rows} rows of {marked.shards} shards are tried again", err=True)
    _work(lambda: opened().until(until), executor, address, as_json=as_json)


def _work(opened: Callable[[], Session], executor: ExecutorName, address: str | None, *, as_json: bool) -> None:
    """Work what is left of a session, and tell what became of it."""
    from pipeline.execute.execution import RunLostError
    from pipeline.execute.stop import Stopped, stop_at_sigterm
    from pipeline.run import run_session
    from pipeline.watch.outcome import print_outcome

    stop_at_sigterm()
    try:
        outcome = run_session(opened(), executor=executor.value, address=address, console=Console(stderr=True))
    except KeyboardInterrupt as stop:
        say("capfilt: interrupted; the same command goes on where this one stopped", err=True)
        raise typer.Exit(stop.exit_code if isinstance(stop, Stopped) else INTERRUPTED) from None
    except RunLostError as loss:
        say(f"capfilt: {loss}", err=True)
        raise typer.Exit(FINISHED_WITH_FAILURES) from None
    session, views = outcome.pop("session"), outcome.pop("views")
    if as_json:
        say_json(outcome)
    else:
        print_outcome(outcome, session, views)
    if outcome["failed"] or outcome["blocked"] or outcome["not_forgotten"]:
        raise typer.Exit(FINISHED_WITH_FAILURES)


def _refuse_address(executor: ExecutorName, address: str | None) -> None:
    if address and executor is ExecutorName.local:
        raise UserError("--address names a Ray cluster; leave out --executor local")


def _cleared(opened: Callable[[], Session]) -> Session:
    """A session of an output that has been cleared of what is on the removal list."""
    from pipeline.upkeep.forget import apply_list

    session = opened()
    done = apply_list(session.store, session.removed)
    for words in (*done.odd, *(model.words for model in done.models)):
        say(words, err=True)
    return opened() if done.tables else session  # where rows went, other listings count
