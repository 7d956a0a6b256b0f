"""BLIP's pretraining as a stage: what it leaves, that it learns, and that it resumes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stages.contract import CorpusJob, Output
from stages.med.compute import Med
from stages.models.blip.reading import read_blip
from stages.training.task import Row


class Killed(BaseException):
    """What no `except Exception` holds up."""


def kill_at(step: int) -> Callable[[Row], None]:
    def on_step(row: Row) -> None:
        if row["step"] == step:
            raise Killed

    return on_step


def course(output: Output, measure: str) -> list[float]:
    return [row["value"] for row in output.table.to_pylist() if row["measure"] == measure]


def weights(output: Output) -> dict[str, torch.Tensor]:
    return read_blip(str(output.sides["checkpoint"]), None, "med.init").state


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "blip", "dropout": 0.1, "drop_path": 0.1, "accumulate": 2},
        {"freeze_vision": True},
    ],
)
def test_a_killed_training_goes_on_as_if_nothing_had_happened(make_recipe, make_job, run, changes):
    recipe = make_recipe(epochs=2, **changes)
    whole = Med(recipe, run)(make_job())
    job = make_job()
    for step in (2, 5, 9):
        with pytest.raises(Killed):
            Med(recipe, run).train(job, on_step=kill_at(step))
    found = Med(recipe, run)(job)
    assert course(found, "loss") == course(whole, "loss")
    assert len(course(whole, "loss")) == whole.counts["steps"]
    resumed = weights(found)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed[name]), name


def test_its_losses_fall_and_what_is_held_out_is_measured(corpus, make_recipe, run, tmp_path):
    recipe = make_recipe(epochs=20, batch_size=16, lr=4e-3, min_lr=2e-3, decay=1, warmup=10, evaluate_every=50)
    learnt = Med(recipe, run)(CorpusJob(corpus, str(tmp_path / "checkpoints"), tmp_path))
    for name in ("itc", "lm"):
        told = course(learnt, name)
        assert sum(told[-10:]) < 0.8 * sum(told[:10]), name
    assert course(learnt, "loss") == pytest.approx(
        [sum(step) for step in zip(*(course(learnt, name) for name in ("itc", "itm", "lm")), strict=True)], rel=1e-5
    )
    steps = len(course(learnt, "loss"))
    assert len(course(learnt, "holdout_mean_recall")) == steps // 50 + bool(steps % 50)
    assert all(0 < value < 1 for value in course(learnt, "holdout_chance"))
