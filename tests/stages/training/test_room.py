"""What all trainings have of their room: they go on to the same bits, tell how far they are, and end when asked to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from stages import stopping
from stages.contract import CorpusJob, Output
from stages.stopping import StoppedError
from stages.training import teller
from stages.training.checkpoints import Checkpoints
from stages.training.progress import Progress, images_since, read_progress
from stages.training.task import Row
from stages.training.teller import MOST, Teller, telling
from tests.stages.training.toy import Killed, Toy, ToyRecipe, ToyRun

RECIPE, RUN = ToyRecipe(), ToyRun()


@pytest.fixture(autouse=True)
def _nobody_stops() -> Iterator[None]:
    yield
    stopping.listen(None)


def kill_at(step: int) -> Callable[[Row], None]:
    def on_step(row: Row) -> None:
        if row["step"] == step:
            raise Killed

    return on_step


def line(output: Output) -> dict[str, torch.Tensor]:
    return torch.load(output.sides["checkpoint"] / "line.pt", weights_only=True)


def course(output: Output) -> list[float]:
    return [row["value"] for row in output.table.to_pylist() if row["measure"] == "loss"]


def assert_same(one: Output, other: Output) -> None:
    assert course(one) == course(other)
    assert all(torch.equal(value, line(other)[name]) for name, value in line(one).items())


@pytest.fixture
def whole(make_job) -> Output:
    return Toy(RECIPE, RUN)(make_job())


def test_a_kill_at_any_step_changes_no_bit(make_job, whole):
    for step in range(1, RECIPE.steps + 1):
        job = make_job()
        with pytest.raises(Killed):
            Toy(RECIPE, RUN).train(job, on_step=kill_at(step))
        assert_same(Toy(RECIPE, RUN)(job), whole)


def stop_after(steps: int) -> None:
    asked = count(1)
    stopping.listen(lambda: next(asked) >= steps)


def test_who_is_asked_to_end_leaves_the_step_that_it_is_in(make_job, whole):
    job = make_job()
    stop_after(5)
    with pytest.raises(StoppedError, match=r"^med: stopped at step 5 of 8, where a checkpoint is left$"):
        Toy(RECIPE, RUN).train(job)
    assert Checkpoints(job.checkpoints, 1).newest()[0] == 5
    assert read_progress(job.checkpoints).notes[-1] == "med: stopped at step 5 of 8, where a checkpoint is left"
    stopping.listen(None)
    Toy.seen.clear()
    assert_same(Toy(RECIPE, RUN)(job), whole)
    assert [step for step, _ in Toy.seen] == [6, 7, 8]


def test_who_is_asked_in_the_last_step_comes_to_the_end(make_job, whole):
    stop_after(RECIPE.steps)
    assert_same(Toy(RECIPE, RUN)(make_job()), whole)


def train(rank: int, job: CorpusJob, stopped: int | None) -> tuple[str, list[tuple[int, list[str]]]]:
    """One of two workers, of whom the second is asked to end after so many steps; what it drew."""
    Toy.seen.clear()
    if rank == 1 and stopped:
        stop_after(stopped)
    try:
        Toy(RECIPE, RUN).train(job, rank=rank, world_size=2)
    except StoppedError as error:
        return str(error), list(Toy.seen)
    finally:
        stopping.listen(None)
    return "", list(Toy.seen)


def together(pair, job: CorpusJob, stopped: int | None = None) -> tuple[set[str], dict[int, list[str]]]:
    """What two workers say, and the images of each step."""
    said, drawn = zip(*pair.together(train, job, stopped), strict=True)
    steps = dict(drawn[0])
    return set(said), {step: steps[step] + dict(drawn[1])[step] for step in steps}


def test_two_workers_end_in_the_same_step_and_go_on_to_the_same_bits(make_job, pair):
    undisturbed, job = make_job(), make_job()
    _, wanted = together(pair, undisturbed)
    said, before = together(pair, job, stopped=4)
    assert said == {"med: stopped at step 4 of 8, where a checkpoint is left"}
    said, after = together(pair, job)
    assert said == {""}
    assert {**before, **after}.items() >= wanted.items()
    assert sorted(after) == [5, 6, 7, 8]
    assert_same(Toy(RECIPE, RUN)(job), Toy(RECIPE, RUN)(undisturbed))


def test_another_number_of_workers_goes_on_with_the_same_images(make_job, pair):
    Toy.seen.clear()
    Toy(RECIPE, RUN)(make_job())
    alone, job = dict(Toy.seen), make_job()
    with pytest.raises(Killed):
        Toy(RECIPE, RUN).train(job, on_step=kill_at(4))  # behind the checkpoint of step 3
    _, after = together(pair, job)
    assert after == {step: alone[step] for step in range(4, 9)}


def test_of_a_source_without_a_share_nothing_is_learnt(make_job):
    job = make_job()
    other = replace(job, corpus=(job.corpus[0], replace(job.corpus[1], source="other")))
    Toy.seen.clear()
    Toy(ToyRecipe(mixture={"web": 0.5, "other": 0}, holdout=0.2), RUN)(other)
    keys = [key for _, drawn in Toy.seen for key in drawn]
    assert keys
    assert all(key.startswith("web-0-") for key in keys)


def test_word_is_left_of_how_far_it_is(make_job, monkeypatch):
    monkeypatch.setattr(teller, "EVERY", 0.0)
    job, seen = make_job(), []
    with pytest.raises(Killed):
        Toy(RECIPE, RUN).train(job, on_step=kill_at(4))
    before = read_progress(job.checkpoints)
    Toy(RECIPE, RUN).train(job, on_step=lambda _: seen.append(read_progress(job.checkpoints)))
    assert [(found.step, found.steps, found.done, found.images) for found in seen] == [
        (step, 8, step - 3, 4 * (step - 3)) for step in range(4, 9)
    ]
    assert seen[0].loss > 0
    assert seen[0].lr == 0.1 / 4
    assert seen[-1].left == 0
    assert seen[1].images_per_second == 8 / seen[1].seconds
    assert seen[1].left == pytest.approx(3 * seen[1].seconds / 2)
    assert read_progress(job.checkpoints).notes == ("med: drawn at random: guess.weight",)
    assert images_since(before, seen[-1]) == 20
    assert images_since(seen[-1], seen[-1]) == 0
    assert images_since(None, None) is None


def test_word_is_left_every_few_seconds(tmp_path):
    now = [100.0]
    told, steps = Teller("med", str(tmp_path), clock=lambda: now[0]), []
    told.begins(0, 500, 10)
    for step in range(1, 8):
        now[0] += 2
        told({"phase": "train", "step": step, "loss": 1.0, "lr": 0.1})
        steps.append(read_progress(str(tmp_path)).step)
    assert steps == [0, 0, 3, 3, 3, 6, 6]
    assert read_progress(str(tmp_path)).left == pytest.approx((500 - 6) * 2)
    assert read_progress(str(tmp_path)).images_per_second == pytest.approx(10 / 2)


def test_of_many_notes_the_first_and_the_latest_stay(tmp_path):
    with telling("med", str(tmp_path)):
        for number in range(100):
            logging.getLogger("stages.somewhere").warning("note %d", number)
    notes = read_progress(str(tmp_path)).notes
    assert notes == (*(f"note {number}" for number in range(MOST - 1)), "note 99")


def test_a_training_does_not_end_because_nobody_can_look_on(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with telling("med", str(tmp_path / "file")) as told:
        told.begins(0, 2, 4)
        told({"phase": "train", "step": 1, "loss": 1.0, "lr": 0.1})
    (record,) = caplog.records
    assert record.message.startswith("med: nobody could be told how far it is: ")


def test_what_cannot_be_read_is_nothing(tmp_path):
    assert read_progress(str(tmp_path)) is None
    Path(tmp_path, "progress.json").write_text('{"half')
    assert read_progress(str(tmp_path)) is None
    assert Progress("now").images_per_second is Progress("now").left is None
