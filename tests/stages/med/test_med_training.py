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
    "changes", [{"augment": "blip", "dropout": 0.1, "drop_path": 0.1}, {"freeze_vision": True}, {"accumulate": 2}]
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
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(found)[name]), name


def test_it_learns_to_match_images_with_what_is_said_of_them(corpus, make_recipe, run, tmp_path):
    recipe = make_recipe(epochs=40, batch_size=16, width=48, vision_width=48, lr=4e-3, min_lr=2e-3, decay=1, warmup=10)
    learnt = Med(recipe, run)(CorpusJob(corpus, str(tmp_path / "checkpoints"), tmp_path))
    for name in ("itc", "lm"):
        told = course(learnt, name)
        assert sum(told[-10:]) < 0.7 * sum(told[:10]), name
    recall, chance = course(learnt, "holdout_r1_image_to_text"), course(learnt, "holdout_chance")
    assert recall[-1] > 2 * chance[-1]
