"""BLIP's and BLIP-2's matching models as they retrieve, against transformers' own forward, one pair at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_models
import torch
from transformers import BertTokenizer, Blip2ForImageTextRetrieval, BlipForImageTextRetrieval

from stages.contract import Dtype
from stages.models.families import load_retriever
from stages.models.family import ModelName, Retriever

TEXTS = ["A red circle.", "two dogs", "a large cat sits on the blue square with a small dog at one circle", ""]
READ = ["a red circle", "two dogs", "a large cat sits on the blue square with a small dog at one circle", ""]
"""As BLIP's cleaning leaves them."""


def load(folder: Path, dtype: Dtype = "float32") -> Retriever:
    return load_retriever(ModelName("evaluate.matcher", str(folder)), dtype, torch.device("cpu"))


def pixels_of(retriever: Retriever, pictures) -> torch.Tensor:
    return torch.stack([retriever.preprocess(image) for image in list(pictures.values())[:3]])


def found_by(retriever: Retriever, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines, the best query's, and logits of a match: (images, texts), each."""
    with torch.inference_mode():
        text, features = retriever.tokens(TEXTS), retriever.encode(pixels)
        cosines = (retriever.embed_images(features) @ retriever.embed_texts(text).T).amax(dim=1)
        logits = torch.stack([retriever.match(retriever.look(one[None]), text)[:, 1] for one in features])
    return cosines, logits


@torch.no_grad()
def test_blip(itm_folder, pictures):
    retriever = load(itm_folder)
    pixels = pixels_of(retriever, pictures)
    model = BlipForImageTextRetrieval.from_pretrained(itm_folder).eval()
    tokenizer = BertTokenizer.from_pretrained(str(itm_folder))
    read = [tokenizer(text, truncation=True, max_length=35, return_tensors="pt")["input_ids"] for text in READ]
    asking = [torch.cat([torch.tensor([[small_models.ID["[ENC]"]]]), ids[:, 1:]], dim=1) for ids in read]
    cosines = [[model(ids, one[None], use_itm_head=False).itm_score.item() for ids in read] for one in pixels]
    logits = [[model(ids, one[None]).itm_score[0, 1].item() for ids in asking] for one in pixels]
    with_cls = [[model(ids, one[None]).itm_score[0, 1].item() for ids in read] for one in pixels]

    found_cosines, found_logits = found_by(retriever, pixels)
    torch.testing.assert_close(found_cosines, torch.tensor(cosines), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found_logits, torch.tensor(logits), atol=1e-4, rtol=1e-4)
    assert (found_logits - torch.tensor(with_cls)).abs().max() > 0.01, "the first token makes no difference"


@torch.no_grad()
def test_blip2(tmp_path, pictures):
    small_models.save_blip2_itm(tmp_path)
    retriever = load(tmp_path)
    pixels = pixels_of(retriever, pictures)
    model = Blip2ForImageTextRetrieval.from_pretrained(tmp_path).eval()
    tokenizer = BertTokenizer.from_pretrained(str(tmp_path))
    read = [tokenizer(text, truncation=True, max_length=32, return_tensors="pt") for text in READ]
    cosines = [[_of_blip2(model, words, one, itm=False).item() for words in read] for one in pixels]
    logits = [[_of_blip2(model, words, one, itm=True)[0, 1].item() for words in read] for one in pixels]

    found_cosines, found_logits = found_by(retriever, pixels)
    torch.testing.assert_close(found_cosines, torch.tensor(cosines), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found_logits, torch.tensor(logits), atol=1e-4, rtol=1e-4)


def _of_blip2(model, words, pixels, *, itm: bool) -> torch.Tensor:
    found = model(pixels[None], words["input_ids"], words["attention_mask"], use_image_text_matching_head=itm)
    return found.logits_per_image


def test_embeddings_have_length_one_and_texts_of_many_lengths_are_the_same_alone(itm_folder, pictures):
    retriever = load(itm_folder)
    together = retriever.embed_texts(retriever.tokens(TEXTS))
    assert together.norm(dim=-1).tolist() == pytest.approx([1] * len(TEXTS))
    alone = torch.cat([retriever.embed_texts(retriever.tokens([text])) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_half_precision_gives_nearly_the_same(itm_folder, tmp_path, pictures):
    small_models.save_blip2_itm(tmp_path)
    for folder in (itm_folder, tmp_path):
        full, half = load(folder), load(folder, "bfloat16")
        (cosines, logits), (rough, roughly) = (found_by(each, pixels_of(each, pictures)) for each in (full, half))
        assert rough.dtype == torch.float32
        assert 0 < (rough - cosines).abs().max() < 0.1
        assert 0 < (roughly - logits).abs().max() < 0.1 * logits.abs().max()
