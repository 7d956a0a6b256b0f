"""Drawing, stochastic depth, dropout, autocast: what does not follow from two steps without chance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small_blip import config, make_batch, ours

from stages.models.blip.trainable.both import BothBatch
from stages.models.blip.trainable.config import VisionConfig
from stages.models.blip.trainable.losses import IGNORED, alpha_at, draw, match, pretraining_weights, retrieval_weights
from stages.models.blip.trainable.pretraining import Pretraining, PretrainingBatch
from stages.models.blip.trainable.retrieval import RetrievalBatch
from stages.models.blip.trainable.texts import Texts, moved
from stages.models.blip.trainable.vision import Block, VisionTransformer


def test_a_column_is_drawn_as_often_as_its_weight_says():
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    columns, found = draw(torch.tensor([[0.2, 0.0, 0.5, 0.3, 0.0]]).expand(1000, -1), uniforms)
    assert columns.bincount(minlength=5).tolist() == [200, 0, 500, 300, 0]
    assert found.all()


def test_the_ends_of_the_unit_interval_draw_what_may_be_drawn():
    weights = torch.tensor([[0.0, 1e-30, 1.0, 0.0]]).expand(2, -1)
    columns, _ = draw(weights, torch.tensor([0.0, math.nextafter(1.0, 0.0)], dtype=torch.float64))
    assert columns.tolist() == [1, 2]
    assert draw(torch.zeros(1, 3), torch.zeros(1))[1].tolist() == [False]


def test_every_negative_of_pretraining_may_be_drawn_and_no_equal_image_of_retrieval():
    logits = torch.tensor([[0.0, -900.0], [-900.0, 0.0]])
    torch.testing.assert_close(pretraining_weights(logits), torch.tensor([[0.0, 1e-4], [1e-4, 0.0]]))
    same = torch.tensor([[True, False, False], [True, True, True]])
    weights = retrieval_weights(torch.tensor([[999.0, 0.0, math.log(3.0)], [0.0, 0.0, 0.0]]), same)
    torch.testing.assert_close(weights, torch.tensor([[0.0, 0.25, 0.75], [0.0, 0.0, 0.0]]))


def test_a_pair_that_could_not_be_drawn_does_not_count():
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, 0.0]])
    found = match(logits, torch.tensor([1, IGNORED]))
    assert found.loss.item() == pytest.approx(math.log(4 / 3))
    assert found.accuracy == 1.0


def test_the_share_of_slow_copies_grows_step_by_step():
    assert [alpha_at(step, 8) for step in (0, 2, 8, 100)] == pytest.approx([0.0, 0.1, 0.4, 0.4])


def test_stochastic_depth_grows_over_the_blocks_and_leaves_out_whole_images():
    vision = VisionTransformer(replace(config().vision, layers=3, drop_path=0.5))
    assert [block.drop_path for block in vision.blocks] == [0.0, 0.25, 0.5]
    block = Block(VisionConfig(8, heads=2, inner=16), drop_path=0.5)
    rows = torch.randn(200, 3, 8)
    torch.manual_seed(0)
    whole, dropped = block.eval()(rows) - rows, block.train()(rows) - rows
    kept = dropped.abs().flatten(1).amax(dim=1) > 0
    assert 0.6 < kept.float().mean() < 0.9  # of two branches with one half each
    assert not torch.allclose(whole, dropped)


def test_activations_computed_twice_change_nothing_though_depth_is_stochastic():
    gradients = []
    for checkpointed in (0, 2):
        torch.manual_seed(0)
        vision = VisionTransformer(replace(config().vision, drop_path=0.5, checkpointed=checkpointed))
        vision(torch.ones(4, 3, 12, 12)).pow(2).sum().backward()
        gradients.append([value.grad for value in vision.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_half_precision_and_dropout_stay_finite_and_reach_every_weight():
    small = config()
    objective = Pretraining(replace(small, text=replace(small.text, dropout=0.1)))
    objective.temp.data.fill_(0.0)
    batch = ours(make_batch(0))
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(batch._replace(images=batch.images.float()))
    losses.loss.backward()
    assert all(loss.isfinite() for loss in losses)
    for name, value in objective.named_parameters():
        assert not value.requires_grad or value.grad.isfinite().all(), name


def test_a_frozen_towers_tokens_take_the_place_of_pixels():
    torch.manual_seed(0)
    objective = Pretraining(config()).double()
    objective.visual_encoder.requires_grad_(requires_grad=False)
    batch = ours(make_batch(0))
    queue = {name: value.clone() for name, value in objective.state_dict().items()}
    wanted = objective(batch)
    objective.load_state_dict(queue)
    found = objective(batch._replace(images=objective.visual_encoder(batch.images)))
    torch.testing.assert_close(list(found), list(wanted))


def test_one_pair_alone_has_no_negatives():
    objective = Pretraining(config()).double()
    losses = objective(ours(make_batch(0, size=1)))
    assert all(loss.isfinite() for loss in losses)


def test_a_batch_is_moved_whole():
    batch = PretrainingBatch(torch.zeros(1), Texts.of([[2, 3]]), torch.zeros(2, 1), 0.4)
    pairs = RetrievalBatch(*batch[:2], torch.zeros(1), *batch[2:])
    assert moved(BothBatch(pairs, batch.texts), torch.device("meta")).pairs.texts.ids.is_meta
    there = moved(batch, torch.device("meta"))
    assert (there.images.is_meta, there.texts.ids.is_meta, there.texts.lengths, there.alpha) == (True, True, (2,), 0.4)
