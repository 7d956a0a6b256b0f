"""The same training on workers of Ray that form a group, and one that loses a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from committed import WRITER
from repeating import repeatable

from pipeline.execute.job import Job
from pipeline.store import Store
from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.pretrain.compute import Pretrain
from stages.pretrain.spec import SPEC, PretrainRecipe, PretrainRun

DIES_ONCE = "tests.stages.pretrain.dies_once:DiesOnce"
REFUSES = "tests.stages.pretrain.refuses:Refuses"
"""As Ray's workers know them, which begin where the tests were started and know none of the tests' own folders."""
pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def _ray(ray_home) -> Iterator[None]:
    import ray

    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def alone(corpus, make_recipe, run, tmp_path_factory) -> pa.Table:
    """The table that this process makes."""
    folder = tmp_path_factory.mktemp("alone")
    return Pretrain(make_recipe(dropout=0.1), run)(CorpusJob(corpus, str(folder / "checkpoints"), folder)).table


def job_of(recipe: PretrainRecipe, run: PretrainRun, work: CorpusJob, compute: str = SPEC.compute) -> Job:
    return Job("pretrain", compute, recipe, run, work.checkpoints, WRITER, inputs={}, metadata={}, parts={})


def train(job: Job, work: CorpusJob) -> Output:
    import ray

    from pipeline.execute.on_ray.train import reserve, train_together

    room = reserve(job.run)
    try:
        return train_together(room, Store.open(str(work.scratch)), job, work)
    finally:
        ray.util.remove_placement_group(room)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_group_that_loses_a_worker_is_lost_and_the_next_one_goes_on_to_the_same_table(
    make_recipe, make_job, run, alone, workers
):
    from pipeline.execute.on_ray.train import GroupLostError

    recipe, work, undisturbed = make_recipe(dropout=0.1), make_job(), make_job()
    run = run.model_copy(update={"workers": workers})
    with pytest.raises(GroupLostError):
        train(job_of(recipe, run, work, DIES_ONCE), work)
    assert (work.scratch / "died").exists()
    found = train(job_of(recipe, run, work, DIES_ONCE), work)
    expected = train(job_of(recipe, run, undisturbed), undisturbed).table if workers > 1 else alone
    assert repeatable(found.table).equals(repeatable(expected))
    assert found.sides["checkpoint"].parent == work.scratch


def test_a_refusal_comes_back_as_one(make_recipe, make_job, run):
    work = make_job()
    with pytest.raises(UserError, match=r"pretrain\.holdout: 1e-05"):
        train(job_of(make_recipe(holdout=1e-5), run, work, REFUSES), work)
