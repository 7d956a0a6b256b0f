"""Two workers against the same worked out plainly for two: own batches and negatives, and a queue that is common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import naive_blip
import pytest
import torch
from naive_blip import Naive
from pair import WORKERS
from small_blip import (
    assert_close,
    assert_same_gradients,
    assert_same_state,
    begin_as,
    config,
    make_batch,
    optimiser,
    ours,
)
from torch.nn.parallel import DistributedDataParallel

from stages.models.blip.trainable.pretraining import Pretraining
from stages.models.blip.trainable.retrieval import Retrieval
from stages.training.gather import fetch_with_gradient

IDS = [[[1, 2, 3, 1], [3, 4, 5, 6]], [[1, 7, 7, 8], [8, 2, 9, 9]]]
"""Of each worker in each step."""


def batches(step: int, *, retrieval: bool) -> list[dict[str, Any]]:
    return [make_batch(10 * step + rank, IDS[step][rank] if retrieval else None) for rank in range(WORKERS)]


def objective_of(task: str, naive: Naive) -> torch.nn.Module:
    if task == "pretraining":
        return begin_as(naive, Pretraining(config()))
    return begin_as(naive, Retrieval(config(), across_workers=task == "across"), retrieval=True)


def train(rank: int, folder: Path) -> None:
    """One of the workers."""
    for task in ("pretraining", "across", "within"):
        naive = Naive("all but self-attention" if task == "pretraining" else "none")
        objective = objective_of(task, naive)
        shared, rule = DistributedDataParallel(objective), optimiser(objective)
        found = []
        for step in range(2):
            losses = shared(ours(batches(step, retrieval=task != "pretraining")[rank]))
            rule.zero_grad()
            losses.loss.backward()
            trained = ((name, value.grad) for name, value in objective.named_parameters() if value.requires_grad)
            gradients = {name: gradient.clone() for name, gradient in trained}
            found.append(({name: loss.detach() for name, loss in losses._asdict().items()}, gradients))
            rule.step()
        torch.save((found, objective.state_dict()), folder / f"{task}-{rank}.pt")
    part = torch.arange(6.0).view(3, 2).requires_grad_()
    fetched = fetch_with_gradient(part, torch.tensor([[5, 0, 5, 1], [1, 1, 0, 4]])[rank])
    (fetched * torch.tensor([[1.0], [2.0], [4.0], [8.0]])).sum().backward()
    torch.save((fetched, part.grad), folder / f"fetched-{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pair) -> Path:
    folder = tmp_path_factory.mktemp("two")
    pair.together(train, folder)
    return folder


@pytest.mark.parametrize("task", ["pretraining", "across", "within"])
def test_two_workers_do_what_is_worked_out_for_two(task, folder):
    retrieval = task != "pretraining"
    naive = Naive("none" if retrieval else "all but self-attention")
    rule = optimiser(naive)
    told = [torch.load(folder / f"{task}-{rank}.pt", weights_only=False) for rank in range(WORKERS)]
    for step in range(2):
        given = batches(step, retrieval=retrieval)
        compute = naive_blip.pretraining if not retrieval else naive_blip.retrieval
        wanted = compute(naive, given, *([task == "across"] if retrieval else []))
        rule.zero_grad()
        (sum(result["loss"] for result in wanted) / WORKERS).backward()
        for (steps, _), result in zip(told, wanted, strict=True):
            losses, gradients = steps[step]
            for name in ("loss", "itc", "itm"):
                assert_close(losses[name], result[name], name)
            objective = objective_of(task, naive)
            for name, gradient in gradients.items():
                objective.get_parameter(name).grad = gradient
            assert_same_gradients(objective, naive)
        rule.step()
    for _, state in told:
        objective.load_state_dict(state)
        assert_same_state(objective, naive, retrieval=retrieval)


def test_what_is_fetched_sends_its_gradient_back(folder):
    (first, first_gradient), (second, second_gradient) = (
        torch.load(folder / f"fetched-{rank}.pt") for rank in range(WORKERS)
    )
    assert first[:, 0].tolist() == [4.0, 0.0, 4.0, 2.0]
    assert second[:, 0].tolist() == [2.0, 2.0, 0.0, 2.0]
    assert first_gradient[:, 0].tolist() == [2.0 + 4.0, 8.0 + 1.0 + 2.0, 0.0]
    assert second_gradient[:, 0].tolist() == [0.0, 8.0, 1.0 + 4.0]
