"""What decays, and which recipes are refused."""

from __future__ import annotations

import pytest
import torch

from stages.models.qformer.model import QFormer, QFormerConfig
from stages.pretrain.optimiser import make_optimiser


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
