"""Recall on matrices whose answer one can count."""

from __future__ import annotations

import pytest
import torch

from stages.models.qformer.model import QFormer, QFormerConfig, Text, similarities
from stages.pretrain.retrieval import CHUNK, compare
from stages.training.recall import chance, recall_at_1


def test_recall_is_counted_in_both_directions():
    similarity = torch.tensor([[0.9, 0.8, 0.0], [0.95, 0.7, 0.1], [0.0, 0.1, 0.2]])
    found = recall_at_1(similarity, ["a", "b", "c"])
    assert torch.tensor(found).tolist() == torch.tensor([2 / 3, 1 / 3]).tolist()


def test_an_equal_caption_of_another_image_is_right():
    similarity = torch.tensor([[0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.0, 0.1, 0.2]])
    assert recall_at_1(similarity, ["same", "same", "c"]) == (1.0, 1.0)
    assert recall_at_1(similarity, ["a", "b", "c"]).image_to_text < 1


@torch.no_grad()
def test_comparing_in_chunks_is_comparing_and_keeps_the_mode():
    torch.manual_seed(0)
    model = QFormer(QFormerConfig(vocabulary=9, vision_width=8, queries=2, width=8, layers=1, heads=2, projection=4))
    number = CHUNK + 3
    features, ids = torch.randn(number, 5, 8), torch.randint(1, 9, (number, 4))
    text = Text(ids, torch.ones_like(ids).bool())
    found = compare(model.train(), features, text)
    assert model.training
    model.eval()
    whole = similarities(
        model.embed_image(model.encode_image(model.look(features))), model.embed_text(model.encode_text(text))
    )
    torch.testing.assert_close(found, whole)


def test_chance_counts_equal_captions():
    captions, generator = ["a", "a", "b", "c"], torch.Generator().manual_seed(0)
    found = [recall_at_1(torch.rand(4, 4, generator=generator), captions).image_to_text for _ in range(3000)]
    assert chance(captions) == (4 + 1 + 1) / 16
    assert sum(found) / len(found) == pytest.approx(chance(captions), abs=0.02)
