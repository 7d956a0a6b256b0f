"""The command: `capfilt run | retry | plan | status | query | validate | compact | export | forget | clean`.

Exit codes: 0 done, 1 finished with failures, 2 wrong manifest or usage, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import sys

import typer

from pipeline.cli import keep, look, work
from pipeline.cli.options import USER_ERROR
from pipeline.watch.console import say
from stages.errors import UserError

app = typer.Typer(
    help="Turn noisy web image-text pairs into a better corpus: caption, rank, filter, select, pretrain, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (work, look, keep):
    app.add_typer(module.commands)


def main() -> None:
    """Run the command; a user's mistake is one line on standard error, never a traceback."""
    try:
        app()
    except UserError as error:
        for line in str(error).splitlines():
            say(f"capfilt: {line}", err=True)
        sys.exit(USER_ERROR)
    except PermissionError as error:
        say(f"capfilt: {error.filename or error}: {error.strerror or 'not allowed'}; check its permissions", err=True)
        sys.exit(USER_ERROR)
