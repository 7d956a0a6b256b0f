"""A finished training's result, beside its checkpoints: who trained writes it, who commits reads it.

It needs no torch, so a driver can read it.
"""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from stages.contract import CorpusJob, Output
from stages.io.files import is_there, locate, open_bytes, write_whole

WEIGHTS = "safetensors"


def write_result(work: CorpusJob, metrics: pa.Table, weights: bytes) -> None:
    """Leave the result; the table is written last and says that it is complete."""
    write_whole(_weights(work), weights)
    buffer = io.BytesIO()
    pq.write_table(metrics, buffer)
    write_whole(_metrics(work), buffer.getvalue())


def is_finished(work: CorpusJob) -> bool:
    """Whether this training has left its result, now or in an earlier run."""
    return is_there(_metrics(work))


def read_result(work: CorpusJob) -> Output:
    """The result as the stage's output, the weights in the scratch folder."""
    local = work.scratch / f"qformer.{WEIGHTS}"
    filesystem, path = locate(_weights(work))
    filesystem.get_file(path, str(local))
    with open_bytes(_metrics(work)) as file:
        table = pq.read_table(file)
    steps = sum(phase == "train" for phase in table["phase"].to_pylist())
    return Output(table, sides={WEIGHTS: local}, counts={"steps": steps})


def _metrics(work: CorpusJob) -> str:
    return f"{work.checkpoints}/metrics.parquet"


def _weights(work: CorpusJob) -> str:
    return f"{work.checkpoints}/qformer.{WEIGHTS}"
