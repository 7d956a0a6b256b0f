"""Weights in and out by published names, and what a model begins with."""

from __future__ import annotations

import pytest
import torch
from naive_blip import PROJECTION, VISION_WIDTH, VOCABULARY, WIDTH, Naive
from naive_names import state_of
from small_blip import begin_as, config
from timm.layers import resample_abs_pos_embed
from transformers import BertConfig, BertForMaskedLM, BertModel

from stages.errors import UserError
from stages.models.blip.positions import resize_positions
from stages.models.blip.trainable.captioning import Captioning
from stages.models.blip.trainable.config import BlipConfig, VisionConfig
from stages.models.blip.trainable.initialise import initialise
from stages.models.blip.trainable.loading import load
from stages.models.blip.trainable.pretraining import Pretraining
from stages.models.blip.trainable.retrieval import Retrieval

KNOWN = VOCABULARY - 2
"""BERT's words; the two marks come behind them."""


def larger(image_size: int) -> BlipConfig:
    small = config()
    vision = VisionConfig(VISION_WIDTH, layers=2, heads=3, patch=4, image_size=image_size, inner=48)
    return BlipConfig(vision, small.text, small.sharing, PROJECTION, queue=20)


@pytest.mark.parametrize("sharing", ["all but self-attention", "none"])
def test_a_published_file_comes_out_as_it_went_in(sharing, tmp_path):
    wanted = state_of(Naive(sharing)) | {"queue_ptr": torch.tensor([12])}
    objective = Pretraining(config(sharing)).double()
    places = {name: value for name, value in objective.state_dict().items() if name.endswith("position_ids")}
    begun = load(objective, wanted, "model.pth")
    assert begun.random == begun.unused == []
    torch.save({"model": objective.state_dict()}, tmp_path / "model.pth")
    found = torch.load(tmp_path / "model.pth")["model"]
    assert found.keys() == (wanted | places).keys()
    assert all(torch.equal(value, (wanted | places)[name]) for name, value in found.items())


def test_names_are_those_of_the_published_files():
    found = set(Pretraining(config()).state_dict())
    layer = "encoder.layer.1.crossattention.output.LayerNorm.weight"
    assert {f"text_encoder.{layer}", f"text_encoder_m.{layer}", f"text_decoder.bert.{layer}"} <= found
    assert {"temp", "image_queue", "text_queue", "queue_ptr", "vision_proj_m.bias", "itm_head.weight"} <= found
    assert {f"text_decoder.cls.predictions.{name}" for name in ("bias", "decoder.bias", "decoder.weight")} <= found
    assert {"visual_encoder.patch_embed.proj.weight", "visual_encoder_m.blocks.0.attn.qkv.bias"} <= found
    assert {"ptr_queue", "idx_queue"} <= set(Retrieval(config()).state_dict())


def test_what_is_tied_is_one_weight():
    objective = Pretraining(config())
    encoder, decoder = objective.text_encoder, objective.text_decoder.bert
    assert encoder.embeddings is decoder.embeddings
    own, others = encoder.encoder.layer[1], decoder.encoder.layer[1]
    assert own.crossattention is others.crossattention
    assert own.attention is not others.attention
    assert objective.text_decoder.cls.predictions.decoder.weight is encoder.embeddings.word_embeddings.weight


def test_fine_tuning_begins_with_a_pretrained_model_of_another_size():
    state = state_of(Naive("all but self-attention"))
    objective = Retrieval(larger(20)).double()
    begun = load(objective, state, "model.pth")
    assert begun.random == []
    assert {name.split(".")[0] for name in begun.unused} == {"text_decoder", "queue_ptr"}
    positions = objective.visual_encoder_m.pos_embed
    assert torch.equal(positions, resize_positions(state["visual_encoder_m.pos_embed"], 5))
    assert objective.image_queue.shape == (PROJECTION, 20)


def test_slow_copies_begin_as_what_they_follow_where_a_file_has_none():
    state = {name: value for name, value in state_of(Naive("none")).items() if "_m." not in name}
    objective = Pretraining(config("none")).double()
    load(objective, state, "folder")
    assert torch.equal(
        objective.text_encoder_m.embeddings.LayerNorm.bias, state["text_encoder.embeddings.LayerNorm.bias"]
    )
    assert torch.equal(objective.visual_encoder_m.cls_token, state["visual_encoder.cls_token"])


def test_a_captioner_gives_an_encoder_what_it_shares():
    naive = Naive("none")
    state = Captioning(config(), 1).double().state_dict()
    objective = begin_as(naive, Pretraining(config("none")))
    objective = Pretraining(config()).double()
    random = load(objective, state, "captioner").random
    assert "text_encoder.encoder.layer.0.attention.self.query.weight" in random
    assert not any("crossattention" in name or "embeddings" in name for name in random)
    table = state["text_decoder.bert.embeddings.word_embeddings.weight"]
    assert torch.equal(objective.text_encoder_m.embeddings.word_embeddings.weight, table)


def test_weights_that_cannot_be_one_are_refused():
    state = state_of(Naive("none"))
    with pytest.raises(UserError, match=r"model.pth: 'text_encoder.*set `sharing`"):
        load(Pretraining(config()).double(), state, "model.pth")
    state["vision_proj.bias"] = torch.zeros(5)
    with pytest.raises(UserError, match=r"'vision_proj.bias' is \(5,\) there and \(8,\) here"):
        load(Pretraining(config("none")).double(), state, "model.pth")


def test_positions_are_resized_as_timm_does_without_smoothing():
    positions = torch.randn(1, 17, 3, dtype=torch.float64)
    for side in (3, 4, 7):
        wanted = resample_abs_pos_embed(positions.float(), [side, side], antialias=False)
        torch.testing.assert_close(resize_positions(positions, side).float(), wanted)
    assert resize_positions(positions, 4) is positions


def bert() -> BertConfig:
    return BertConfig(
        vocab_size=KNOWN, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=14,
    )  # fmt: skip


def test_bert_and_an_image_tower_leave_at_random_what_neither_knows():
    objective, teacher = Pretraining(config()), BertForMaskedLM(bert())
    drawn = {name: value.clone() for name, value in objective.state_dict().items()}
    vision = Pretraining(larger(8)).visual_encoder.state_dict() | {"head.weight": torch.zeros(1)}
    random = initialise(objective, vision, teacher.state_dict(), "BERT")
    parts = {".".join(name.split(".")[:2]) for name in random if not name.startswith("text_encoder.encoder")}
    assert parts == {"vision_proj.weight", "vision_proj.bias", "text_proj.weight", "text_proj.bias"} | {
        "itm_head.weight",
        "itm_head.bias",
    }
    assert {name.split(".")[4] for name in random if name.startswith("text_encoder.encoder")} == {"crossattention"}
    state, known = objective.state_dict(), teacher.state_dict()
    for stack in ("text_encoder", "text_encoder_m", "text_decoder.bert"):
        for name in ("attention.self.key.weight", "output.dense.bias", "attention.output.LayerNorm.weight"):
            full = f"encoder.layer.1.{name}"
            assert torch.equal(state[f"{stack}.{full}"], known[f"bert.{full}"]), full
        words = state[f"{stack}.embeddings.word_embeddings.weight"]
        assert torch.equal(words[:KNOWN], known["bert.embeddings.word_embeddings.weight"])
        own = drawn[f"{stack}.embeddings.word_embeddings.weight"]
        assert torch.equal(words[KNOWN:], own[KNOWN:])
    bias = state["text_decoder.cls.predictions.bias"]
    assert torch.equal(bias, torch.cat([known["cls.predictions.bias"], torch.zeros(2)]))
    first = "encoder.layer.0.crossattention.self.query.weight"
    assert torch.equal(state[f"text_encoder.{first}"], drawn[f"text_decoder.bert.{first}"])
    assert not torch.equal(state[f"text_encoder_m.{first}"], state[f"text_encoder.{first}"])
    assert torch.equal(state["visual_encoder_m.pos_embed"], resize_positions(vision["pos_embed"], 3))


def test_bert_without_its_head_is_told():
    random = initialise(Captioning(config(), 1), None, BertModel(bert()).state_dict(), "BERT")
    assert "text_decoder.cls.predictions.transform.dense.weight" in random
    with pytest.raises(UserError, match="no weights of BERT"):
        initialise(Captioning(config(), 1), None, {"wte.weight": torch.zeros(1)}, "GPT")


def test_a_tower_of_another_kind_is_refused():
    vision = Pretraining(config()).visual_encoder.state_dict() | {"blocks.0.ls1.gamma": torch.zeros(1)}
    with pytest.raises(UserError, match=r"'blocks.0.ls1.gamma' has no place"):
        initialise(Pretraining(config()), vision, None, "DINOv2")
