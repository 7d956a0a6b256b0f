"""The command as a person types it."""

from __future__ import annotations

import sys

import pytest

from pipeline import cli


def capfilt(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command in this process: exit code, standard output, standard error."""
    sys.argv = ["capfilt", *map(str, arguments)]
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err
