"""A training's course for TensorBoard: the numbers of the table, as they come."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX import SummaryWriter


class Curves:
    """Writes event files to a local folder; no folder, no curves.

    A training that is taken up again overwrites what an earlier one drew behind the step that it goes on from.
    """

    def __init__(self, folder: Path | None, done: int) -> None:
        """Begin behind step `done`."""
        self._writer = None
        if folder is not None:  # files are named by the second, in which two trainings may begin
            self._writer = SummaryWriter(str(folder), purge_step=done + 1, filename_suffix=f".{done:08d}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def draw(self, row: dict[str, Any]) -> None:
        """Add a row of `tables.METRICS`."""
        if self._writer is not None:
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float):
                    self._writer.add_scalar(f"{row['phase']}/{name}", value, row["step"])
