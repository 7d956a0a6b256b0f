"""The learning rate's course, and what decays."""

from __future__ import annotations

import pytest
import torch

from stages.models.qformer.model import QFormer, QFormerConfig
from stages.pretrain.schedule import learning_rate, make_optimiser


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine(make_recipe):
    recipe = make_recipe(steps=100, warmup=20, lr=1e-3, min_lr=1e-4)
    assert learning_rate(1, recipe) == pytest.approx(1e-3 / 20)
    assert learning_rate(10, recipe) == pytest.approx(0.5e-3)
    assert learning_rate(20, recipe) == pytest.approx(1e-3)
    assert learning_rate(60, recipe) == pytest.approx((1e-3 + 1e-4) / 2)
    assert learning_rate(100, recipe) == pytest.approx(1e-4)


@pytest.mark.parametrize("warmup", [0, 5])
def test_a_rate_exists_at_the_edges(make_recipe, warmup):
    recipe = make_recipe(steps=5, warmup=warmup)
    assert all(0 < learning_rate(step, recipe) <= recipe.lr for step in range(1, 6))


def test_biases_norms_queries_and_temperature_do_not_decay(make_recipe):
    model = QFormer(QFormerConfig(vocabulary=9, vision_width=8, queries=2, width=8, layers=1, heads=2, projection=4))
    decayed, exempt = make_optimiser(model, make_recipe(weight_decay=0.1)).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    left_alone = {names[id(parameter)] for parameter in exempt["params"]}
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
    assert {"queries", "temperature", "word_bias", "vision_norm.weight", "embedding_norm.bias"} <= left_alone
    assert all(name.endswith(".weight") and "norm" not in name for name in names.values() if name not in left_alone)


def test_decay_alone_never_moves_the_temperature(make_recipe):
    model = QFormer(QFormerConfig(vocabulary=9, vision_width=8, queries=2, width=8, layers=1, heads=2, projection=4))
    optimiser = make_optimiser(model, make_recipe(weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = model.queries.detach().clone(), model.words.weight.detach().clone()
    optimiser.step()
    assert model.temperature.item() == pytest.approx(0.07)
    assert torch.equal(model.queries, before[0])
    assert not torch.equal(model.words.weight, before[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"heads": 5}, "does not divide"), ({"min_lr": 1.0}, "above lr"), ({"warmup": 99}, "longer than steps")],
)
def test_sizes_that_do_not_fit_are_refused(make_recipe, changes, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(**changes)
