"""What a training begins with: checkpoints in the formats in which they are published, small and drawn at random."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from small_models import VOCABULARY
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    Blip2Config,
    Blip2ForImageTextRetrieval,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
)

from stages.errors import UserError
from stages.models.qformer.model import QFormer
from stages.pretrain.compute import Pretrain, make_model

WORDS, WIDTH, LAYERS, VISION = len(VOCABULARY), 32, 2, 32


def drawn(model: PreTrainedModel) -> PreTrainedModel:
    torch.manual_seed(5)
    for parameter in model.parameters():
        parameter.data.normal_()
    return model


def save_bert(folder: Path, model_class: type[PreTrainedModel] = BertForMaskedLM, **changes: int) -> PreTrainedModel:
    sizes = {
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 4 * WIDTH,
        "max_position_embeddings": 40,
    }
    model = drawn(model_class(BertConfig(**(sizes | changes))))
    model.save_pretrained(folder)
    return model


def save_blip2(folder: Path, **changes: int) -> Blip2ForImageTextRetrieval:
    qformer = {
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 4 * WIDTH,
        "max_position_embeddings": 16,
        "use_qformer_text_input": True,
    }
    vision = {"hidden_size": VISION, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = Blip2Config(
        vision_config={**vision, "image_size": 32, "patch_size": 8},
        qformer_config=qformer | changes,
        num_query_tokens=4,
        image_text_hidden_size=16,
    )
    model = drawn(Blip2ForImageTextRetrieval(config))
    model.save_pretrained(folder)
    return model


def save_lavis(path: Path, layers: int = LAYERS) -> dict[str, torch.Tensor]:
    """A checkpoint whose names and shapes are written out here, as LAVIS's trainer saves them."""
    attention = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    shapes: dict[str, tuple[int, ...]] = {
        "query_tokens": (1, 4, WIDTH),
        "temp": (),
        "ln_vision.weight": (VISION,),
        "ln_vision.bias": (VISION,),
        "visual_encoder.cls_token": (1, 1, VISION),
        "visual_encoder.blocks.0.norm1.weight": (VISION,),
        "Qformer.bert.embeddings.position_ids": (1, 512),
        "Qformer.bert.embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "Qformer.bert.embeddings.position_embeddings.weight": (512, WIDTH),
        "Qformer.bert.embeddings.LayerNorm.weight": (WIDTH,),
        "Qformer.bert.embeddings.LayerNorm.bias": (WIDTH,),
        "Qformer.cls.predictions.bias": (WORDS,),
        "Qformer.cls.predictions.transform.dense.weight": (WIDTH, WIDTH),
        "Qformer.cls.predictions.transform.dense.bias": (WIDTH,),
        "Qformer.cls.predictions.transform.LayerNorm.weight": (WIDTH,),
        "Qformer.cls.predictions.transform.LayerNorm.bias": (WIDTH,),
        "Qformer.cls.predictions.decoder.weight": (WORDS, WIDTH),
        "Qformer.cls.predictions.decoder.bias": (WORDS,),
        "vision_proj.weight": (16, WIDTH),
        "vision_proj.bias": (16,),
        "text_proj.weight": (16, WIDTH),
        "text_proj.bias": (16,),
        "itm_head.weight": (2, WIDTH),
        "itm_head.bias": (2,),
    }
    for number in range(layers):
        layer = f"Qformer.bert.encoder.layer.{number}"
        for name in (*attention, *(f"cross{part}" for part in attention if number % 2 == 0)):
            from_image = name in ("crossattention.self.key", "crossattention.self.value")
            shapes[f"{layer}.{name}.weight"] = (WIDTH, VISION if from_image else WIDTH)
            shapes[f"{layer}.{name}.bias"] = (WIDTH,)
        for kind in ("", "_query"):
            shapes[f"{layer}.intermediate{kind}.dense.weight"] = (4 * WIDTH, WIDTH)
            shapes[f"{layer}.intermediate{kind}.dense.bias"] = (4 * WIDTH,)
            shapes[f"{layer}.output{kind}.dense.weight"] = (WIDTH, 4 * WIDTH)
            shapes[f"{layer}.output{kind}.dense.bias"] = (WIDTH,)
        norms = ("attention.output", "output", "output_query", *(["crossattention.output"] if number % 2 == 0 else []))
        for name in norms:
            shapes |= {f"{layer}.{name}.LayerNorm.{leaf}": (WIDTH,) for leaf in ("weight", "bias")}
    generator = torch.Generator().manual_seed(6)
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save({"model": state, "optimizer": {}, "config": {}, "epoch": 3}, path)
    return state


def made(make_recipe, init: Path, **changes: object) -> QFormer:
    recipe = make_recipe(init=str(init), **changes)
    return make_model(recipe, WORDS, VISION)


def test_bert_gives_all_that_it_has_and_the_rest_is_as_without_it(make_recipe, tmp_path):
    bert = save_bert(tmp_path / "bert").state_dict()
    model, fresh = made(make_recipe, tmp_path / "bert"), make_model(make_recipe(), WORDS, VISION)
    layer = "bert.encoder.layer.1"
    for ours, theirs in {
        "words.weight": "bert.embeddings.word_embeddings.weight",
        "embedding_norm.bias": "bert.embeddings.LayerNorm.bias",
        "layers.1.attention.value.weight": f"{layer}.attention.self.value.weight",
        "layers.1.attention.norm.weight": f"{layer}.attention.output.LayerNorm.weight",
        "layers.1.text_feed_forward.body.0.bias": f"{layer}.intermediate.dense.bias",
        "layers.1.query_feed_forward.body.0.bias": f"{layer}.intermediate.dense.bias",
        "layers.1.query_feed_forward.norm.weight": f"{layer}.output.LayerNorm.weight",
        "word_transform.weight": "cls.predictions.transform.dense.weight",
        "word_bias": "cls.predictions.bias",
    }.items():
        assert torch.equal(model.state_dict()[ours], bert[theirs]), ours
    assert torch.equal(model.positions.weight, bert["bert.embeddings.position_embeddings.weight"][:16])
    new = {"queries", "vision_norm", "image_projection", "text_projection", "match_head", "temperature"}
    for name, value in model.state_dict().items():
        kept = name.split(".")[0] in new or ".image_attention." in name
        assert torch.equal(value, fresh.state_dict()[name]) == kept, name


def test_the_text_model_is_berts(make_recipe, tmp_path):
    """But for the token types, which BLIP-2 leaves out."""
    bert = save_bert(tmp_path / "bert", BertModel)
    bert.embeddings.token_type_embeddings.weight.data.zero_()
    model = made(make_recipe, tmp_path / "bert").eval()
    ids = torch.randint(1, WORDS, (2, 9), generator=torch.Generator().manual_seed(0))
    rows = model._run(model._embed(ids, 0), 0, torch.ones(2, 1, 1, 9, dtype=torch.bool), None)
    torch.testing.assert_close(rows, bert.eval()(ids).last_hidden_state, rtol=1e-4, atol=1e-4)


def test_bert_without_its_head_leaves_ours_as_it_was_drawn(make_recipe, tmp_path):
    save_bert(tmp_path / "bert", BertModel)
    model, fresh = made(make_recipe, tmp_path / "bert"), make_model(make_recipe(), WORDS, VISION)
    assert torch.equal(model.word_transform.weight, fresh.word_transform.weight)
    assert not torch.equal(model.words.weight, fresh.words.weight)


def test_the_start_token_that_bert_lacks_is_new(make_recipe, tmp_path):
    bert = save_bert(tmp_path / "bert", vocab_size=WORDS - 1).state_dict()
    model, fresh = made(make_recipe, tmp_path / "bert"), make_model(make_recipe(), WORDS, VISION)
    assert torch.equal(model.words.weight[:-1], bert["bert.embeddings.word_embeddings.weight"])
    assert torch.equal(model.words.weight[-1], fresh.words.weight[-1])
    assert model.word_bias[-1] == 0


def test_a_published_first_stage_gives_all_but_what_its_class_lacks(make_recipe, tmp_path):
    theirs = save_blip2(tmp_path / "blip2").state_dict()
    model, fresh = made(make_recipe, tmp_path / "blip2"), make_model(make_recipe(), WORDS, VISION)
    assert torch.equal(model.vision_norm.weight, theirs["vision_model.post_layernorm.weight"])
    assert torch.equal(model.queries, theirs["query_tokens"])
    head = {"word_transform.weight", "word_transform.bias", "word_norm.weight", "word_norm.bias", "word_bias"}
    same = {name for name, value in fresh.state_dict().items() if torch.equal(value, model.state_dict()[name])}
    assert same == head | {"temperature"}


def test_a_checkpoint_of_lavis_gives_everything(make_recipe, tmp_path):
    theirs = save_lavis(tmp_path / "checkpoint_9.pth")
    model, fresh = made(make_recipe, tmp_path / "checkpoint_9.pth"), make_model(make_recipe(), WORDS, VISION)
    assert not any(torch.equal(value, model.state_dict()[name]) for name, value in fresh.state_dict().items())
    assert torch.equal(model.temperature, theirs["temp"])
    assert torch.equal(model.positions.weight, theirs["Qformer.bert.embeddings.position_embeddings.weight"][:16])
    key = "Qformer.bert.encoder.layer.0.crossattention.self.key.weight"
    assert torch.equal(model.layers[0].image_attention.key.weight, theirs[key])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"width": 64}, "pretrain.width gives 64 (width), there it is 32"),
        ({"layers": 3}, "pretrain.layers gives 3 (layers), there it is 2"),
        ({"heads": 2}, "pretrain.heads gives 2 (heads), there it is 4"),
        ({"queries": 5}, "pretrain.queries gives 5 (queries), there it is 4"),
        ({"projection": 8}, "pretrain.projection gives 8 (projection), there it is 16"),
        ({"image_every": 1}, "pretrain.image_every gives 1 (image_every), there it is 2"),
        ({"max_text_tokens": 17}, "pretrain.max_text_tokens gives 17 (max_text_tokens), there it is 16"),
    ],
)
def test_a_size_that_does_not_fit_is_told_with_its_key(changes, told, make_recipe, tmp_path):
    save_blip2(tmp_path / "blip2")
    with pytest.raises(UserError) as caught:
        made(make_recipe, tmp_path / "blip2", **changes)
    assert told in str(caught.value)
    assert str(caught.value).startswith("pretrain.init: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("words", "width", "key"), [(WORDS + 9, VISION, "tokenizer"), (WORDS, 24, "model")])
def test_another_tokenizer_or_tower_is_told_with_its_key(words, width, key, make_recipe, tmp_path):
    save_blip2(tmp_path / "blip2")
    with pytest.raises(UserError, match=rf"pretrain\.{key} gives"):
        make_model(make_recipe(init=str(tmp_path / "blip2")), words, width)


def test_a_feed_forward_of_another_width_is_told(make_recipe, tmp_path):
    save_bert(tmp_path / "bert", intermediate_size=64)
    with pytest.raises(UserError, match="is no Q-Former of BERT's shape: size mismatch for layers"):
        made(make_recipe, tmp_path / "bert")


@pytest.mark.parametrize("lacks", ["crossattention", "layer.0.crossattention.self.key.bias"])
def test_a_first_stage_that_cannot_look_at_images_is_refused(lacks, make_recipe, tmp_path):
    state = save_lavis(tmp_path / "blind.pth")
    left = {name: value for name, value in state.items() if lacks not in name}
    torch.save({"model": left}, tmp_path / "blind.pth")
    with pytest.raises(UserError) as caught:
        made(make_recipe, tmp_path / "blind.pth")
    lost = len(state) - len(left)
    assert re.fullmatch(
        rf"pretrain\.init: '.*blind\.pth' is a first stage that lacks {lost} of 10 weights of its cross-attention, .*",
        str(caught.value),
    )


def test_what_is_left_to_chance_is_said(make_recipe, tmp_path, caplog):
    save_bert(tmp_path / "bert")
    save_lavis(tmp_path / "all.pth")
    for init in (tmp_path / "bert", tmp_path / "all.pth"):
        made(make_recipe, init)
    make_model(make_recipe(), WORDS, VISION)
    new = "image_projection, layers, match_head, queries, temperature, text_projection, vision_norm"
    assert [record.message for record in caplog.records if "drawn" in record.message] == [
        f"pretrain: drawn at random: {each}" for each in (new, "nothing", "everything")
    ]


def write_text(folder: Path) -> Path:
    (folder / "checkpoint.pth").write_text("not a checkpoint")
    return folder / "checkpoint.pth"


def save_other_tensors(folder: Path) -> Path:
    torch.save({"model": {"weight": torch.ones(2)}}, folder / "resnet.pth")
    return folder / "resnet.pth"


def save_gpt2(folder: Path) -> Path:
    GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20)).save_pretrained(folder / "gpt2")
    return folder / "gpt2"


def save_second_stage(folder: Path) -> Path:
    model = save_blip2(folder / "stage2")
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("embeddings.")}
    model.save_pretrained(folder / "stage2", state_dict=kept)
    return folder / "stage2"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder / "nowhere", "no folder"),
        (
            lambda folder: folder,
            "holds no config.json of transformers, not a checkpoint that a Q-Former can begin with",
        ),
        (write_text, "cannot be loaded as a first-stage checkpoint of LAVIS"),
        (save_other_tensors, "it has no 'query_tokens' under 'model'"),
        (save_gpt2, "holds a model of type 'gpt2'"),
        (save_second_stage, "lacks the word embeddings of a Q-Former"),
    ],
)
def test_what_is_no_checkpoint_is_told_in_one_line(make, told, make_recipe, tmp_path):
    with pytest.raises(UserError) as caught:
        made(make_recipe, make(tmp_path))
    assert told in str(caught.value)
    assert str(caught.value).startswith("pretrain.init: ")
    assert "\n" not in str(caught.value)


def test_a_training_begins_with_bert(make_recipe, make_job, run, tmp_path):
    save_bert(tmp_path / "bert", BertModel)
    first = [
        Pretrain(make_recipe(steps=1, init=init), run)(make_job()).table for init in (None, str(tmp_path / "bert"))
    ]
    losses = [table.column("itg")[0].as_py() for table in first]
    assert losses[0] != pytest.approx(losses[1], rel=0.01)


def test_a_commit_without_a_model_is_refused(make_recipe):
    with pytest.raises(ValueError, match="init_revision names a commit of `init`, which is not set"):
        make_recipe(init_revision="main")
