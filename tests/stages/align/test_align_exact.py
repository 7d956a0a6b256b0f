"""Logits, labels, loss and gradients of the second stage, by two other ways of computing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from naive_stage2 import NaiveStage2, decoder_logits, loss_of, prefix_logits, theirs
from small_language import UNSAID
from torch import Tensor
from transformers import Blip2Config, Blip2ForConditionalGeneration

from stages.align.objective import Batch, Objective
from stages.models.blip2.second_stage import SecondStage
from stages.models.families import load_language_model
from stages.models.family import ModelName
from stages.models.language.model import IGNORED, Read
from stages.models.qformer.model import QFormerConfig

CONFIG = QFormerConfig(vocabulary=1, vision_width=20, queries=3, width=32, layers=3, heads=4, inner=48)
GIVEN = ["", "a photo of", "", "the"]
SAID = ["a red circle on white", "two dogs", "cat", "small blue square at the large green circle with one dog"]
END, BEGIN = 202, 2
"""Of the small OPT: the new line, and what every text begins with."""


def load(folder: Path) -> Any:
    return load_language_model(ModelName("align.llm", str(folder)), "float32", torch.device("cpu"))


def small(width: int) -> SecondStage:
    torch.manual_seed(3)
    return SecondStage(CONFIG, width).eval()


def features(images: int = 4) -> Tensor:
    return torch.randn(images, 6, CONFIG.vision_width, generator=torch.Generator().manual_seed(5))


def rows_of(tokenizer: Any, kind: str, texts: list[str]) -> list[list[int]]:
    """The tokens of texts by the published rules, written down once more."""
    if kind == "t5":
        return [tokenizer(text)["input_ids"] for text in texts]
    begin = [BEGIN] if kind == "opt" else []
    return [[*begin, *tokenizer(text, add_special_tokens=False)["input_ids"], END] for text in texts]


def known(tokenizer: Any, kind: str, given: list[str]) -> list[int]:
    """How many tokens the prompts have, the mark at their beginning counted."""
    rows = rows_of(tokenizer, kind, given)
    return [len(row) - 1 if text else 0 for row, text in zip(rows, given, strict=True)]


@pytest.mark.parametrize("kind", ["opt", "gpt2", "t5"])
def test_logits_labels_loss_and_gradients_are_those_of_a_plain_computation(kind, language_folders):
    language = load(language_folders[kind])
    llm, tokenizer = language._model.double(), language._tokenizer
    model = small(language.width).double()
    naive = NaiveStage2(CONFIG, model.state_dict())
    read = language.read(GIVEN, SAID, 32)
    shown = features().double()

    soft = naive(shown)
    if kind == "t5":
        said = rows_of(tokenizer, kind, SAID)
        wanted, labels = prefix_logits(llm, soft, rows_of(tokenizer, kind, GIVEN), said), said
    else:
        rows = rows_of(tokenizer, kind, [f"{one} {other}".strip() for one, other in zip(GIVEN, SAID, strict=True)])
        wanted = decoder_logits(llm, soft, rows)
        before = known(tokenizer, kind, GIVEN)
        labels = [[None] * count + row[count:] for count, row in zip(before, rows, strict=True)]
    for own, row in zip(read.labels.tolist(), labels, strict=True):
        assert own[: len(row)] == [IGNORED if label is None else label for label in row]
        assert set(own[len(row) :]) <= {IGNORED}
    found = language.logits(model(shown), read)
    for own, row in zip(found, wanted, strict=True):
        torch.testing.assert_close(own[: len(row)], row, rtol=1e-8, atol=1e-8)

    loss, plain = Objective(model, language)(Batch(shown, read)).loss, loss_of(wanted, labels)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-8)
    loss.backward()
    plain.backward()
    gradients = theirs({name: parameter.grad for name, parameter in model.named_parameters()})
    assert len(gradients) == len(list(naive.parameters()))
    for name, parameter in naive.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-8, atol=1e-8, msg=name)


@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_transformers_own_class_computes_the_same(kind, language_folders):
    language = load(language_folders[kind])
    model = small(language.width)
    blip2 = their_class(model, language._model)
    read, shown = language.read(GIVEN, SAID, 32), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        seen = blip2.vision_model.encoder(blip2.vision_model.embeddings(shown)).last_hidden_state
        found = language.logits(model(seen), read)
        loss = Objective(model, language)(Batch(seen, read)).loss
        told = their_forward(blip2, shown, read, decoder=kind == "opt")
    tokens = read.labels.shape[1]
    logits = told.logits[:, -tokens - 1 : -1] if kind == "opt" else told.logits
    real = read.labels != IGNORED
    torch.testing.assert_close(found[real], logits[real], rtol=1e-4, atol=1e-4)
    assert loss.item() == pytest.approx(told.loss.item(), rel=1e-4)


def their_class(model: SecondStage, llm: Any) -> Blip2ForConditionalGeneration:
    qformer = {
        "hidden_size": CONFIG.width,
        "num_hidden_layers": CONFIG.layers,
        "num_attention_heads": CONFIG.heads,
        "intermediate_size": CONFIG.feed_forward,
        "encoder_hidden_size": CONFIG.vision_width,
        "cross_attention_frequency": CONFIG.image_every,
    }
    vision = {
        "hidden_size": CONFIG.vision_width,
        "intermediate_size": 30,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
        "layer_norm_eps": 1e-5,
    }
    config = Blip2Config(
        vision_config=vision,
        qformer_config=qformer,
        text_config=llm.config.to_dict(),
        num_query_tokens=CONFIG.queries,
        image_token_index=UNSAID[llm.config.model_type],
    )
    blip2 = Blip2ForConditionalGeneration(config).eval()
    blip2.load_state_dict(theirs(model.state_dict()), strict=False)
    blip2.language_model.load_state_dict(llm.state_dict())
    return blip2


def their_forward(blip2: Any, pixels: Tensor, read: Read, *, decoder: bool) -> Any:
    """With placeholders before the text, and labels that leave out the image, prompts and padding."""
    places = torch.full((len(pixels), CONFIG.queries), blip2.config.image_token_id)
    ids = torch.cat([places, read.ids], dim=1)
    mask = torch.cat([torch.ones_like(places), read.real.long()], dim=1)
    labels = torch.cat([torch.full_like(places, IGNORED), read.labels], dim=1) if decoder else read.labels
    return blip2(pixel_values=pixels, input_ids=ids, attention_mask=mask, labels=labels)


def test_a_text_that_is_cut_has_no_end(language_folders):
    language = load(language_folders["opt"])
    whole, cut = (language.read([""], [SAID[0]], limit) for limit in (7, 6))
    assert whole.ids[0, -1] == END
    assert cut.ids.tolist() == whole.ids[:, :6].tolist()
    assert END not in cut.labels


def test_t5_keeps_its_end_where_a_part_is_cut(language_folders):
    read = load(language_folders["t5"]).read([SAID[3]], [SAID[3]], 4)
    assert read.ids.shape == read.labels.shape == (1, 4)
    assert read.ids[0, -1] == read.labels[0, -1] == 1


def test_half_precision_is_that_of_the_language_model_alone(language_folders):
    name = ModelName("align.llm", str(language_folders["opt"]))
    full, half = (load_language_model(name, dtype, torch.device("cpu")) for dtype in ("float32", "bfloat16"))
    model, read = small(full.width), full.read(GIVEN, SAID, 32)
    one, other = (Objective(model, language)(Batch(features(), read)).loss for language in (full, half))
    assert full.logits(model(features()), read).dtype == torch.float32
    assert half.logits(model(features()), read).dtype == torch.bfloat16
    assert other.item() == pytest.approx(one.item(), rel=0.02)
    assert other.item() != one.item()
