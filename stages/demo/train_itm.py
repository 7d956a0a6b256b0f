"""The demo's filter: BLIP's image-grounded encoder with its matching head.

It begins as the captioner (image tower and text layers alike) and learns to tell right texts from wrong ones: web noise
of every kind, texts that differ from a right one by a single phrase, and what the captioner itself got wrong. The
second task of patches.py here also asks where a patch lies: a filter has to be sure of what the captioner is not.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval

from stages.demo import learning, tokenizer
from stages.demo.language import is_right
from stages.demo.lessons import Book
from stages.demo.measure import ITM_TOKENS, Captioner
from stages.demo.patches import CONTENT, POSITION, PatchReader, content, position

SAMPLED = 16_000
"""Pictures of the book of which the captioner's own words are learnt from."""

TEXTS_AT_ONCE = 6
"""Half of them right, half of them wrong."""


def train(book: Book, folder: Path, *, captioner: Path, steps: int, seed: int) -> None:
    """Learn from the book and the captioner's mistakes in it, and write the checkpoint."""
    torch.manual_seed(seed)
    words = tokenizer.build()
    model = BlipForImageTextRetrieval(learning.blip_config(len(words)))
    begin_as(model, BlipForConditionalGeneration.from_pretrained(str(captioner)))
    right, wrong = texts_of(book, Captioner(captioner), seed=seed)
    reader = PatchReader(learning.WIDTH, CONTENT + POSITION)
    truths = torch.cat([content(book), position(book)], -1)
    labels = torch.tensor([1, 0]).repeat_interleave(TEXTS_AT_ONCE // 2)

    def loss_of(chosen: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        seen = model.vision_model(learning.normalised(book.pixels[chosen])).last_hidden_state
        texts = [
            str(text)
            for number in chosen
            for pool in (right[number], wrong[number])
            for text in rng.choice(pool, TEXTS_AT_ONCE // 2)
        ]
        tokens = words(texts, padding=True, truncation=True, max_length=ITM_TOKENS, return_tensors="pt")
        tokens.input_ids[:, 0] = tokenizer.ENC
        read = model.text_encoder(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=seen.repeat_interleave(TEXTS_AT_ONCE, 0),
        ).last_hidden_state
        matching = functional.cross_entropy(model.itm_head(read[:, 0]).float(), labels.repeat(len(chosen)))
        loss: Tensor = matching + 0.2 * reader(seen[:, 1:], truths[chosen])
        return loss

    parameters = [*model.parameters(), *reader.parameters()]
    learning.learn(parameters, loss_of, book, learning.Course(steps, batch=48, rate=6e-4, seed=seed))
    model.save_pretrained(str(folder))
    learning.halve(folder / "model.safetensors")
    learning.keep_processor(folder)


def begin_as(model: BlipForImageTextRetrieval, captioner: BlipForConditionalGeneration) -> None:
    """Copy the captioner's towers."""
    model.vision_model.load_state_dict(captioner.vision_model.state_dict())
    model.text_encoder.load_state_dict(captioner.text_decoder.bert.state_dict())


def texts_of(book: Book, captioner: Captioner, *, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Right and wrong texts of every lesson; the judge sorts the captioner's."""
    right = [[*lesson.descriptions, *lesson.web_texts] for lesson in book.lessons]
    wrong = [[text for text in lesson.wrong_texts if not is_right(text, lesson.scene)] for lesson in book.lessons]
    images = [Image.fromarray(pixels.transpose(1, 2, 0)) for pixels in book.pixels[:SAMPLED]]
    for number, captions in enumerate(captioner.sample(images, seed=seed)):
        for caption in set(captions):
            (right if is_right(caption, book.lessons[number].scene) else wrong)[number].append(caption)
    return right, wrong
