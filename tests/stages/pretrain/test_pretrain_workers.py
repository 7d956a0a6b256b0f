"""Several workers: without dropout they compute what one computes alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.models.qformer import load_qformer
from stages.pretrain.compute import Pretrain
from stages.pretrain.result import read_result
from stages.pretrain.spec import PretrainRecipe, PretrainRun

WORKERS = 2


def work(rank: int, meeting: Path, run: PretrainRun, tasks: list[tuple[PretrainRecipe, CorpusJob]]) -> None:
    """One worker; what it refuses is left beside the meeting point."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORKERS)
    for recipe, job in tasks:
        try:
            Pretrain(recipe, run).train(job, rank=rank, world_size=WORKERS)
        except UserError as refusal:
            meeting.with_name(f"refusal-{rank}").write_text(str(refusal))
    dist.destroy_process_group()


def test_two_workers_compute_what_one_computes_and_refuse_together(make_recipe, make_job, run, tmp_path):
    recipe, job = make_recipe(steps=6, dropout=0.0), make_job()
    tasks = [(make_recipe(batch_size=7), make_job()), (recipe, job)]
    torch.multiprocessing.spawn(work, (tmp_path / "meeting", run, tasks), nprocs=WORKERS)
    for rank in range(WORKERS):
        assert "does not divide by run.workers 2" in (tmp_path / f"refusal-{rank}").read_text()
    assert_alike(Pretrain(recipe, run)(make_job()), read_result(job))


def assert_alike(alone: Output, together: Output) -> None:
    """Up to the order in which float32 is summed."""
    for name in ("loss", "itc", "itm", "itg", "itm_accuracy", "temperature", "grad_norm", "r1_image_to_text"):
        one, other = (output.table[name].drop_null().to_pylist() for output in (alone, together))
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5), name
    one, other = (load_qformer(output.sides["safetensors"]).state_dict() for output in (alone, together))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0.05, atol=2e-3, msg=name)
