"""Several workers: without dropout they compute what one computes alone."""

from __future__ import annotations

import pytest
import torch
from pair import WORKERS
from safetensors.torch import load_file

from stages.align.compute import Align
from stages.align.spec import AlignRecipe, AlignRun
from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.training.result import read_result


def course(output: Output, measure: str) -> list[float]:
    return [row["value"] for row in output.table.to_pylist() if row["measure"] == measure]


def work(rank: int, run: AlignRun, tasks: list[tuple[AlignRecipe, CorpusJob]]) -> list[str]:
    """One worker; it returns what it refuses."""
    refusals = []
    for recipe, job in tasks:
        try:
            Align(recipe, run).train(job, rank=rank, world_size=WORKERS)
        except UserError as refusal:
            refusals.append(str(refusal))
    return refusals


def test_two_workers_compute_what_one_computes_and_refuse_together(make_recipe, make_job, run, pair):
    jobs = {llm: make_job() for llm in ("opt", "t5")}
    recipes = {llm: make_recipe(llm=llm, dropout=0.0, steps=5) for llm in jobs}
    tasks = [(make_recipe(batch_size=7), make_job()), *((recipes[llm], job) for llm, job in jobs.items())]
    refusals = pair.together(work, run, tasks)
    for (refusal,) in refusals:
        assert "does not divide by run.workers 2" in refusal
    for llm, job in jobs.items():
        alone, together = Align(recipes[llm], run)(make_job()), read_result(job)
        for measure in ("loss", "grad_norm", "holdout_lm"):
            assert course(together, measure) == pytest.approx(course(alone, measure), rel=1e-4)
        one, other = (load_file(output.sides["checkpoint"] / "model.safetensors") for output in (alone, together))
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=0.05, atol=2e-3, msg=name)
