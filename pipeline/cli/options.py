"""What several commands share: their arguments and options, and their exit codes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.watch.console import say

if TYPE_CHECKING:
    from pipeline.session import Session

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
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STEP.KEY=VALUE", help="Another value in the manifest; any number of times."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for programs.")]
Until = Annotated[str | None, typer.Option("--until", metavar="STEP", help="Stop after this step.")]


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
    pth = "pth"
    webdataset = "webdataset"
    json = "json"


FINISHED_WITH_FAILURES = 1
USER_ERROR = 2
INTERRUPTED = 130


def told(session: Session) -> Session:
    """A session, of which the user is told what there is to say."""
    for note in session.notes:
        say(note, err=True)
    return session
