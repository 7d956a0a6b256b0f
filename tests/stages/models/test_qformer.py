"""The Q-Former: who sees whom, what it knows before it has learnt anything, and its file."""

from __future__ import annotations

import math

import pytest
import small_models
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from stages.models.qformer.model import (
    Pass,
    QFormer,
    QFormerConfig,
    Text,
    config_metadata,
    joint_mask,
    load_qformer,
)

CONFIG = small_models.QFORMER
LENGTHS = (9, 4, 6)
POSITION = 3


@pytest.fixture
def model() -> QFormer:
    torch.manual_seed(0)
    return QFormer(CONFIG).eval()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(3, 7, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def text() -> Text:
    ids = torch.randint(1, 60, (3, 9), generator=torch.Generator().manual_seed(2))
    real = torch.arange(9)[None] < torch.tensor(LENGTHS)[:, None]
    return Text(ids, real)


def changed(text: Text, position: int) -> Text:
    ids = text.ids.clone()
    ids[:, position] = (ids[:, position] + 7) % 60
    return Text(ids, text.real)


def rows_that_differ(one: torch.Tensor, other: torch.Tensor) -> list[bool]:
    """By row of the first image."""
    return [not torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True)]


@torch.no_grad()
def test_a_word_is_seen_by_itself_and_by_later_words_when_captioning(model, features, text):
    queries, words = model.caption(model.look(features), text)
    other_queries, other_words = model.caption(model.look(features), changed(text, POSITION))
    assert torch.equal(queries, other_queries)
    assert rows_that_differ(words, other_words) == [False] * POSITION + [True] * (9 - POSITION)


@torch.no_grad()
def test_the_caption_pass_has_the_queries_of_the_image_pass(model, features, text):
    torch.testing.assert_close(model.caption(model.look(features), text)[0], model.encode_image(model.look(features)))


@torch.no_grad()
def test_one_image_is_matched_with_many_texts_as_if_it_stood_beside_each(model, features, text):
    one = features[:1]
    beside_each = model.match(model.look(one.expand(3, -1, -1)), text)
    torch.testing.assert_close(model.match(model.look(one), text), beside_each)


@torch.no_grad()
def test_a_word_is_seen_by_all_when_matching(model, features, text):
    seen = []
    model.layers[-1].register_forward_hook(lambda _module, _inputs, rows: seen.append(rows))
    model.match(model.look(features), text)
    model.match(model.look(features), changed(text, POSITION))
    assert rows_that_differ(*seen) == [True] * (5 + 9)


@torch.no_grad()
def test_a_word_is_seen_by_earlier_and_later_ones_when_reading(model, text):
    rows = model.encode_text(text)
    assert rows_that_differ(rows, model.encode_text(changed(text, POSITION))) == [True] * 9


@torch.no_grad()
def test_nobody_sees_padding(model, features, text):
    other = Text(torch.where(text.real, text.ids, 33), text.real)
    assert not torch.equal(other.ids, text.ids)
    assert torch.equal(model.match(model.look(features), text), model.match(model.look(features), other))
    queries, words = model.caption(model.look(features), text)
    other_queries, other_words = model.caption(model.look(features), other)
    assert torch.equal(queries, other_queries)
    assert torch.equal(words[text.real], other_words[text.real])
    assert torch.equal(model.encode_text(text)[text.real], model.encode_text(other)[text.real])


@torch.no_grad()
def test_padding_to_another_length_changes_nothing(model, features, text):
    short = Text(text.ids[1:2, :4], text.real[1:2, :4])
    whole = model.match(model.look(features), text)
    torch.testing.assert_close(model.match(model.look(features[1:2]), short), whole[1:2])
    torch.testing.assert_close(model.encode_text(short), model.encode_text(text)[1:2, :4])


@torch.no_grad()
def test_words_see_the_image_through_the_queries_alone(model, features, text):
    other = features.roll(1, 0)
    assert not torch.equal(model.caption(model.look(features), text)[1], model.caption(model.look(other), text)[1])
    blind = joint_mask(Pass.CAPTION, 5, text.real)
    blind[:, :, 5:, :5] = False
    rows = [model._run(model._embed(text.ids, 3), 5, blind, model.look(seen))[:, 5:] for seen in (features, other)]
    assert torch.equal(*rows)


@torch.no_grad()
def test_images_of_a_batch_do_not_see_one_another(model, features, text):
    alone = model.match(model.look(features[:1]), Text(text.ids[:1], text.real[:1]))
    torch.testing.assert_close(alone, model.match(model.look(features), text)[:1])


def test_the_caption_teaches_the_queries(model, features, text):
    _, words = model.caption(model.look(features), text)
    words.sum().backward()
    assert model.queries.grad is not None
    assert model.queries.grad.abs().sum() > 0
    assert model.vision_norm.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_it_knows_nothing_at_first(model, features, text):
    _, words = model.caption(model.look(features), text)
    next_word = cross_entropy(words[:, :-1].flatten(0, 1), text.ids[:, 1:].flatten())
    assert next_word.item() == pytest.approx(math.log(60), abs=0.1)
    assert model.match(model.look(features), text).softmax(-1).numpy() == pytest.approx(0.5, abs=0.1)


@torch.no_grad()
def test_embeddings_have_length_one(model, features, text):
    images, texts = (
        model.embed_image(model.encode_image(model.look(features))),
        model.embed_text(model.encode_text(text)),
    )
    assert images.shape == (3, 5, 16)
    assert texts.shape == (3, 16)
    for embedding in (images, texts):
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(embedding.shape[:-1]))


def test_initial_values_are_berts(model):
    assert model.queries.std().item() == pytest.approx(0.02, rel=0.15)
    assert model.words.weight.std().item() == pytest.approx(0.02, rel=0.15)
    in_berts_width = model.layers[0].attention.query.weight * math.sqrt(32 / 768)
    assert in_berts_width.std().item() == pytest.approx(0.02, rel=0.15)
    assert model.layers[0].attention.query.bias.abs().max() == 0
    assert [layer.image_attention is not None for layer in model.layers] == [True, False, True]


def test_the_temperature_comes_back_into_its_bounds(model):
    for value, bound in ((-3.0, 0.001), (2.0, 0.5), (0.07, 0.07)):
        model.temperature.data.fill_(value)
        model.clamp_temperature()
        assert model.temperature.item() == pytest.approx(bound)


@torch.no_grad()
def test_a_file_of_weights_is_enough_to_load_it(model, features, text, tmp_path):
    path = tmp_path / "qformer.safetensors"
    save_file(model.state_dict(), path, config_metadata(CONFIG))
    loaded = load_qformer(path)
    assert loaded.config == CONFIG
    assert torch.equal(loaded.match(loaded.look(features), text), model.match(model.look(features), text))


def test_sizes_are_those_of_blip2():
    """With ViT-g: 161.8 M in the blocks, 186.7 M in all, by a recount of the published model; the paper says 188 M."""
    with torch.device("meta"):
        model = QFormer(QFormerConfig(vocabulary=30523, vision_width=1408))
    blocks = sum(parameter.numel() for parameter in model.layers.parameters())
    assert blocks / 1e6 == pytest.approx(161.8, abs=0.1)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(186.7, abs=0.6)
