"""A training's course as a table of one number a row."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from stages.tables import TRAINING
from stages.training.task import Row


def as_table(rows: Iterable[Row]) -> pa.Table:
    """The numbers of steps and measurements; those of the images that are kept back are called `holdout_…`."""
    told = [
        {"step": row["step"], "measure": _measure(row["phase"], name), "value": float(value)}
        for row in rows
        for name, value in row.items()
        if name not in {"phase", "step"}
    ]
    return pa.Table.from_pylist(told, schema=TRAINING)


def _measure(phase: str, name: str) -> str:
    return name if phase == "train" else f"{phase}_{name}"
