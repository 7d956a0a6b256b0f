"""The same numbers from our Q-Former and from transformers', and from a state that is named as LAVIS names it."""

from __future__ import annotations

import pytest
import small_models
import torch
from transformers import Blip2Config, Blip2ForImageTextRetrieval

from stages.models.qformer.model import QFormer, Text
from stages.models.qformer.names import from_bert, from_lavis, from_transformers, to_lavis, to_transformers

CONFIG = small_models.QFORMER
LANGUAGE = {"word_transform.weight", "word_transform.bias", "word_norm.weight", "word_norm.bias", "word_bias"}


@pytest.fixture
def model() -> QFormer:
    """Every number drawn, norms and biases too, so that no two weights can be exchanged unnoticed."""
    torch.manual_seed(0)
    model = QFormer(CONFIG).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture
def published() -> Blip2ForImageTextRetrieval:
    vision = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    qformer = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 9,
        "use_qformer_text_input": True,
    }
    config = Blip2Config(
        vision_config={**vision, "image_size": 8, "patch_size": 4, "layer_norm_eps": 1e-5},
        qformer_config=qformer,
        num_query_tokens=5,
        image_text_hidden_size=16,
    )
    return Blip2ForImageTextRetrieval(config).eval()


@pytest.fixture
def text() -> Text:
    ids = torch.randint(1, 60, (3, 9), generator=torch.Generator().manual_seed(2))
    return Text(ids, torch.arange(9)[None] < torch.tensor([9, 4, 6])[:, None])


class GivenFeatures(torch.nn.Module):
    """In place of an image tower: these features, and the norm behind them."""

    def __init__(self, features: torch.Tensor, norm: torch.nn.Module) -> None:
        super().__init__()
        self.features, self.norm = features, norm

    def forward(self, **_: object) -> tuple[torch.Tensor]:
        return (self.norm(self.features),)


@torch.no_grad()
def test_transformers_gives_the_same_similarities_and_match_logits(model, published, text):
    named, rest = to_transformers(model.state_dict())
    missing = published.load_state_dict(named, strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("vision_model.") for name in missing.missing_keys)
    assert set(rest) == LANGUAGE | {"temperature"}

    features = torch.randn(3, 7, 24, generator=torch.Generator().manual_seed(1))
    published.vision_model = GivenFeatures(features, published.vision_model.post_layernorm)
    given = {"pixel_values": None, "input_ids": text.ids, "attention_mask": text.real.long()}
    matched = published(**given, use_image_text_matching_head=True).logits_per_image
    cosines = published(**given, use_image_text_matching_head=False).logits_per_image

    torch.testing.assert_close(model.match(model.look(features), text), matched, rtol=0, atol=1e-4)
    images, texts = (
        model.embed_image(model.encode_image(model.look(features))),
        model.embed_text(model.encode_text(text)),
    )
    torch.testing.assert_close((images @ texts.T).amax(1), cosines, rtol=0, atol=1e-4)
    assert matched.std() > 0.05
    assert cosines.std() > 0.05


def test_to_transformers_and_back_changes_no_bit(model):
    state = model.state_dict()
    named, rest = to_transformers(state)
    back = from_transformers(named) | rest
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())


def test_to_lavis_and_back_changes_no_bit(model):
    state = model.state_dict()
    back = from_lavis(to_lavis(state))
    assert back.keys() == state.keys()
    assert back["positions.weight"].shape == (512, 32)
    assert back["positions.weight"][9:].abs().max() == 0
    back["positions.weight"] = back["positions.weight"][:9]
    assert all(torch.equal(back[name], value) for name, value in state.items())


def lavis_names(layers: int) -> set[str]:
    """The Q-Former's part of the `state_dict` of LAVIS's `blip2`, as `lavis/models/blip2_models` builds it."""

    def both(*modules: str) -> set[str]:
        return {f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")}

    names = {"query_tokens", "temp"} | both("ln_vision", "vision_proj", "text_proj", "itm_head")
    embeddings, head = "Qformer.bert.embeddings", "Qformer.cls.predictions"
    names |= {f"{embeddings}.{name}" for name in ("word_embeddings.weight", "position_embeddings.weight")}
    names |= {f"{embeddings}.position_ids", f"{head}.bias"} | both(f"{embeddings}.LayerNorm", f"{head}.decoder")
    names |= both(f"{head}.transform.dense", f"{head}.transform.LayerNorm")
    for number in range(layers):
        layer = f"Qformer.bert.encoder.layer.{number}"
        for attention in ("attention", "crossattention") if number % 2 == 0 else ("attention",):
            names |= both(*(f"{layer}.{attention}.self.{part}" for part in ("query", "key", "value")))
            names |= both(f"{layer}.{attention}.output.dense", f"{layer}.{attention}.output.LayerNorm")
        for kind in ("", "_query"):
            names |= both(f"{layer}.intermediate{kind}.dense", f"{layer}.output{kind}.dense")
            names |= both(f"{layer}.output{kind}.LayerNorm")
    return names


def test_lavis_finds_every_name_that_its_model_has_and_no_other(model):
    named = to_lavis(model.state_dict())
    assert named.keys() == lavis_names(layers=3)
    assert torch.equal(named["Qformer.cls.predictions.decoder.weight"], model.words.weight)
    assert named["Qformer.bert.embeddings.position_ids"].tolist() == [list(range(512))]
    assert named["Qformer.bert.encoder.layer.2.crossattention.self.key.weight"].shape == (32, 24)
    assert torch.equal(
        named["Qformer.bert.encoder.layer.1.output_query.dense.weight"],
        model.layers[1].query_feed_forward.body[2].weight,
    )


def test_bert_gives_its_feed_forward_to_queries_and_text():
    state = {
        "bert.encoder.layer.0.intermediate.dense.weight": torch.ones(8, 2),
        "bert.embeddings.token_type_embeddings.weight": torch.ones(2, 2),
        "cls.predictions.bias": torch.ones(5),
    }
    assert set(from_bert(state)) == {
        "layers.0.text_feed_forward.body.0.weight",
        "layers.0.query_feed_forward.body.0.weight",
        "word_bias",
    }
