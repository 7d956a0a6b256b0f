"""Several workers: without dropout they compute what one computes alone."""

from __future__ import annotations

import pytest
import torch
from pair import WORKERS

from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.models.qformer.model import load_qformer
from stages.pretrain.compute import Pretrain
from stages.pretrain.spec import PretrainRecipe, PretrainRun
from stages.training.result import read_result


def work(rank: int, run: PretrainRun, tasks: list[tuple[PretrainRecipe, CorpusJob]]) -> list[str]:
    """One worker; it returns what it refuses."""
    refusals = []
    for recipe, job in tasks:
        try:
            Pretrain(recipe, run).train(job, rank=rank, world_size=WORKERS)
        except UserError as refusal:
            refusals.append(str(refusal))
    return refusals


def test_two_workers_compute_what_one_computes_and_refuse_together(make_recipe, make_job, run, pair):
    recipe, job = make_recipe(steps=6, dropout=0.0), make_job()
    refusals = pair.together(work, run, [(make_recipe(batch_size=7), make_job()), (recipe, job)])
    assert len(refusals) == WORKERS
    for (refusal,) in refusals:
        assert "does not divide by run.workers 2" in refusal
    assert_alike(Pretrain(recipe, run)(make_job()), read_result(job))


def assert_alike(alone: Output, together: Output) -> None:
    """Up to the order in which float32 is summed."""
    for name in ("loss", "itc", "itm", "itg", "itm_accuracy", "temperature", "grad_norm", "r1_image_to_text"):
        one, other = (output.table[name].drop_null().to_pylist() for output in (alone, together))
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5), name
    one, other = (
        load_qformer(output.sides["checkpoint"] / "model.safetensors").state_dict() for output in (alone, together)
    )
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0.05, atol=2e-3, msg=name)
