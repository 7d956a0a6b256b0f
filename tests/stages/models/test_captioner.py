"""The captioner against transformers on its own."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor

from stages.models.blip.captioner import Captioner, load_captioner
from stages.models.blip.decoding import Decoder, Drawn, Prompt, sample
from stages.models.blip.sampling import Sampling
from stages.models.blip.vision import BlipVision
from stages.models.family import Caption, ModelName
from stages.models.randomness import uniform_grid

PROMPT = "a picture of "


def settings(
    top_p: float = 0.9,
    top_k: int | None = None,
    repetition_penalty: float = 1.0,
    max_length: int = 12,
    min_length: int = 3,
) -> Sampling:
    return Sampling(top_p, top_k, 1.0, repetition_penalty, max_length, min_length)


@pytest.fixture(scope="module")
def load(captioner_folder: Path) -> Callable[[Sampling], Captioner]:
    def make(sampling: Sampling) -> Captioner:
        name = ModelName("caption.model", str(captioner_folder))
        return load_captioner(name, PROMPT, sampling, "float32", torch.device("cpu"))

    return make


@pytest.fixture(scope="module")
def reference(captioner_folder: Path) -> BlipForConditionalGeneration:
    return BlipForConditionalGeneration.from_pretrained(captioner_folder)


@pytest.fixture(scope="module")
def pixels(captioner_folder: Path, pictures: dict[str, Image.Image]) -> Tensor:
    processor = BlipImageProcessor.from_pretrained(captioner_folder)
    found = processor(list(pictures.values()), return_tensors="pt")["pixel_values"]
    assert isinstance(found, Tensor)
    return found


@pytest.fixture(scope="module")
def prompt(captioner_folder: Path, reference: BlipForConditionalGeneration) -> Prompt:
    tokenizer = BertTokenizer.from_pretrained(captioner_folder)
    config = reference.config.text_config
    ids = tokenizer(PROMPT)["input_ids"][1:-1]
    return Prompt([config.bos_token_id, *ids], end=config.sep_token_id, pad=config.pad_token_id)


def draw_all(reference: BlipForConditionalGeneration, pixels: Tensor, prompt: Prompt, sampling: Sampling) -> Drawn:
    numbers = torch.from_numpy(np.random.default_rng(0).random((len(pixels), 5, sampling.max_length)))
    embeds = BlipVision(reference.vision_model)(pixels)
    return sample(Decoder(reference.text_decoder), embeds, prompt, numbers, sampling)


@pytest.mark.parametrize(("repetition_penalty", "min_length"), [(1.0, 0), (1.3, 0), (1.3, 6)])
def test_the_likeliest_tokens_are_those_of_generate(
    load: Callable[[Sampling], Captioner],
    reference: BlipForConditionalGeneration,
    pictures: dict[str, Image.Image],
    repetition_penalty: float,
    min_length: int,
) -> None:
    """With one token to choose from, drawing is transformers' greedy search: same prompt, marks, cache and penalty."""
    captioner = load(settings(top_k=1, repetition_penalty=repetition_penalty, min_length=min_length))
    processor = AutoProcessor.from_pretrained(reference.name_or_path)
    for image in pictures.values():
        inputs = processor(images=image, text=PROMPT, return_tensors="pt")
        ids = reference.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=12,
            min_new_tokens=min_length,
            repetition_penalty=repetition_penalty,
        )
        expected = processor.decode(ids[0], skip_special_tokens=True).removeprefix("a picture of").strip()
        ((caption,),) = captioner.caption(captioner.preprocess(image)[None], np.zeros((1, 1, 12)))
        assert caption.text == expected


@pytest.mark.parametrize("beams", [1, 3])
def test_beams_write_what_generate_writes(
    load: Callable[[Sampling], Captioner],
    reference: BlipForConditionalGeneration,
    pictures: dict[str, Image.Image],
    beams: int,
) -> None:
    captioner = load(dataclasses.replace(settings(), beams=beams))
    processor = AutoProcessor.from_pretrained(reference.name_or_path)
    images = list(pictures.values())
    inputs = processor(images=images, text=[PROMPT] * len(images), return_tensors="pt")
    ids = reference.generate(
        **inputs,
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=12,
        min_new_tokens=3,
    )
    texts = [processor.decode(row, skip_special_tokens=True).removeprefix("a picture of").strip() for row in ids]
    pixels = torch.stack([captioner.preprocess(image) for image in images])
    found = captioner.caption(pixels, np.zeros((len(images), beams, 12)))
    assert [caption.text for of_image in found for caption in of_image] == texts


def test_the_logprob_is_that_of_a_teacher_forced_forward(
    reference: BlipForConditionalGeneration, pixels: Tensor, prompt: Prompt
) -> None:
    drawn = draw_all(reference, pixels, prompt, settings(repetition_penalty=1.2, top_k=20))
    start, ended = len(prompt.tokens), 0
    for image, rows, logprobs in zip(pixels, drawn.tokens.tolist(), drawn.logprobs.tolist(), strict=True):
        for row, logprob in zip(rows, logprobs, strict=True):
            tokens = row[: row.index(prompt.end) + 1] if prompt.end in row else row
            ended += prompt.end in row
            ids = torch.tensor([prompt.tokens + tokens])
            with torch.no_grad():
                logits = reference(pixel_values=image[None], input_ids=ids).logits
            steps = logits[0, start - 1 : -1].log_softmax(-1)
            expected = steps.gather(1, torch.tensor(tokens)[:, None]).sum().item()
            assert logprob == pytest.approx(expected, abs=1e-4)
    assert 0 < ended < 35  # some captions ended by themselves, some were cut


def test_lengths(reference: BlipForConditionalGeneration, pixels: Tensor, prompt: Prompt) -> None:
    drawn = draw_all(reference, pixels, prompt, settings(min_length=4, max_length=7))
    assert drawn.tokens.shape[:2] == (7, 5)
    assert drawn.tokens.shape[2] <= 7
    ends = drawn.tokens == prompt.end
    assert not ends[..., :4].any()
    assert ends.any()
    behind_the_end = ends.cumsum(-1).cumsum(-1) > 1
    assert (drawn.tokens[behind_the_end] == prompt.pad).all()


def test_a_caption_may_end_right_after_min_length(
    reference: BlipForConditionalGeneration, pixels: Tensor, prompt: Prompt
) -> None:
    eager = copy.deepcopy(reference)
    with torch.no_grad():
        eager.text_decoder.cls.predictions.decoder.bias[prompt.end] = 1000.0
    for min_length in (0, 1, 4):
        tokens = draw_all(eager, pixels, prompt, settings(min_length=min_length)).tokens
        assert tokens.shape[2] == min_length + 1
        assert (tokens[..., -1] == prompt.end).all()


def test_one_token_at_most(reference: BlipForConditionalGeneration, pixels: Tensor, prompt: Prompt) -> None:
    assert draw_all(reference, pixels, prompt, settings(min_length=0, max_length=1)).tokens.shape == (7, 5, 1)


def captions(captioner: Captioner, pixels: Tensor, keys: list[str], batch_size: int) -> dict[str, list[Caption]]:
    found: dict[str, list[Caption]] = {}
    for start in range(0, len(keys), batch_size):
        batch = slice(start, start + batch_size)
        numbers = uniform_grid(3, keys[batch], 4, 12)
        found |= zip(keys[batch], captioner.caption(pixels[batch], numbers), strict=True)
    return found


def test_captions_do_not_depend_on_batch_size_or_order(load: Callable[[Sampling], Captioner], pixels: Tensor) -> None:
    captioner = load(settings())
    keys = [f"key-{number}" for number in range(len(pixels))]
    expected = captions(captioner, pixels, keys, batch_size=1)
    assert len({caption.text for found in expected.values() for caption in found}) > 20
    shuffled = [4, 0, 6, 2, 1, 5, 3]
    for found in (
        captions(captioner, pixels, keys, batch_size=3),
        captions(captioner, pixels, keys, batch_size=7),
        captions(captioner, pixels[shuffled], [keys[number] for number in shuffled], batch_size=4),
    ):
        for key, of_image in expected.items():
            assert [caption.text for caption in found[key]] == [caption.text for caption in of_image]
            assert [c.logprob for c in found[key]] == pytest.approx([c.logprob for c in of_image], abs=1e-4)


def test_captions_depend_on_the_image(load: Callable[[Sampling], Captioner], pixels: Tensor) -> None:
    captioner = load(settings())
    numbers = np.repeat(uniform_grid(0, ["same"], 4, 12), len(pixels), axis=0)
    assert len({tuple(caption.text for caption in found) for found in captioner.caption(pixels, numbers)}) > 1


def test_a_word_piece_after_the_prompt_joins_it(load: Callable[[Sampling], Captioner], prompt: Prompt) -> None:
    captioner = load(settings())
    tokenizer = captioner._tokenizer
    piece, dog = tokenizer.convert_tokens_to_ids(["##s", "dog"])
    assert captioner._strip_prompt([piece, dog, prompt.end]) == "s dog"
    assert captioner._strip_prompt([dog, piece, prompt.end, prompt.pad]) == "dogs"
