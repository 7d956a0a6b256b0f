"""The checkpoints that are in the repository: loaded as published ones are, and able to do their work."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval, BlipProcessor

import stages.demo
from stages.demo import tokenizer
from stages.demo.language import is_right, parse
from stages.demo.measure import Captioner, Exam, Matcher, Ranker, best
from stages.metrics.roc import roc_auc

CHECKPOINTS = Path(stages.demo.__file__).parent / "checkpoints"


@pytest.fixture(scope="module")
def exam():
    return Exam.set(images=40, seed=0)


@pytest.fixture(scope="module")
def captions(exam):
    return Captioner(CHECKPOINTS / "captioner").sample(exam.images, seed=0)


@pytest.mark.parametrize(
    ("kind", "folder"), [(BlipForConditionalGeneration, "captioner"), (BlipForImageTextRetrieval, "itm")]
)
def test_blip_loads_whole_and_in_float32(kind, folder):
    model, told = kind.from_pretrained(str(CHECKPOINTS / folder), output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    processor = BlipProcessor.from_pretrained(str(CHECKPOINTS / folder))
    text = model.config.text_config
    assert (text.bos_token_id, text.sep_token_id, text.pad_token_id, text.vocab_size) == (
        tokenizer.DEC,
        processor.tokenizer.sep_token_id,
        processor.tokenizer.pad_token_id,
        len(processor.tokenizer),
    )
    size = model.config.vision_config.image_size
    assert dict(processor.image_processor.size) == {"height": size, "width": size}


def test_most_captions_are_right_and_they_differ(exam, captions):
    right = [[is_right(text, scene) for text in texts] for texts, scene in zip(captions, exam.scenes, strict=True)]
    assert 0.5 < np.mean(right) < 0.8  # some have to be wrong, or there would be nothing to filter
    assert np.mean([any(row) for row in right]) > 0.9
    assert np.mean([len(set(texts)) for texts in captions]) > 3
    assert np.mean([parse(text) is not None for texts in captions for text in texts]) > 0.9


def test_the_filter_tells_right_captions_from_wrong_ones(exam):
    scores = Matcher(CHECKPOINTS / "itm").score(exam.images, [[web.text] for web in exam.web])
    right = [is_right(web.text, scene) for web, scene in zip(exam.web, exam.scenes, strict=True)]
    assert roc_auc(np.concatenate(scores), np.array(right)) > 0.9


def test_clip_finds_the_end_of_a_text():
    folder = f"local-dir:{CHECKPOINTS / 'clip'}"
    model, words = open_clip.create_model_from_pretrained(folder)[0].eval(), open_clip.get_tokenizer(folder)
    tokens = words(["a red circle", "a small blue star above a ring"])
    assert tokens.argmax(-1).tolist() == (tokens == words.tokenizer.sep_token_id).int().argmax(-1).tolist() == [4, 8]
    with torch.no_grad():
        padded = model.encode_text(tokens)
        changed = tokens.masked_fill(tokens == tokenizer.PAD, tokenizer.MASK)
        torch.testing.assert_close(model.encode_text(changed), padded)


def test_clip_has_a_penultimate_block():
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{CHECKPOINTS / 'clip'}")
    assert len(model.visual.transformer.resblocks) >= 2


def test_clip_prefers_right_captions(exam):
    texts = [[web.text, "click to enlarge"] for web in exam.web if web.kind == "true"]
    images = [image for image, web in zip(exam.images, exam.web, strict=True) if web.kind == "true"]
    scores = Ranker(CHECKPOINTS / "clip").score(images, texts)
    assert np.mean([right > wrong for right, wrong in scores]) > 0.95


def test_the_best_two_are_distinct_and_allowed():
    texts = ["a red circle", "A red circle.", "a blue star", "a ring", "a heart"]
    match, rank = np.array([0.9, 0.9, 0.2, 0.8, 0.9]), np.array([0.5, 0.6, 0.9, 0.4, 0.3])
    assert best(texts, match, rank) == [1, 3]


def test_they_are_small():
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) < 15e6
