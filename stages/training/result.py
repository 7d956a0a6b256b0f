"""A finished training's result, beside its checkpoints: who trained writes it, who commits reads it.

It needs no torch, so a driver can read it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from stages.contract import CorpusJob, Output
from stages.io.files import fetch_folder, is_there, open_bytes, write_whole
from stages.tables import CHECKPOINT

MODEL: Final = "model"
"""The folder with the trained model, as it is written."""
HISTORY: Final = "history.parquet"
"""The file that says that the training has come to its end."""


def write_result(work: CorpusJob, history: pa.Table, model: Path) -> None:
    """Leave the result; the table is written last and says that it is complete.

    Args:
        work: what was worked on.
        history: the training's course.
        model: a local folder.
    """
    for file in sorted(path for path in model.rglob("*") if path.is_file()):
        write_whole(f"{_model(work)}/{file.relative_to(model).as_posix()}", file.read_bytes())
    buffer = io.BytesIO()
    pq.write_table(history, buffer)
    write_whole(_history(work), buffer.getvalue())


def is_finished(work: CorpusJob) -> bool:
    """Whether this training has left its result, now or in an earlier run."""
    return is_there(_history(work))


def read_result(work: CorpusJob) -> Output:
    """The result as the stage's output, the model in the scratch folder."""
    local = work.scratch / MODEL
    fetch_folder(_model(work), local)
    with open_bytes(_history(work)) as file:
        table = pq.read_table(file)
    counts = {name.decode(): int(count) for name, count in (table.schema.metadata or {}).items()}
    return Output(table.replace_schema_metadata(), sides={CHECKPOINT: local}, counts=counts)


def _history(work: CorpusJob) -> str:
    return f"{work.checkpoints}/{HISTORY}"


def _model(work: CorpusJob) -> str:
    return f"{work.checkpoints}/{MODEL}"
