"""The demo's filter: BLIP's image-grounded encoder with its matching head.

It begins as the captioner (image tower and text layers alike) and learns to tell right texts from wrong ones: web noise
of every kind, texts that differ from a right one by a single phrase, and what the captioner itself got wrong. Where
things lie the captioner hardly knows; patches.py and pointing.py teach it to the filter.
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
from stages.demo.describe import turned
from stages.demo.language import is_right
from stages.demo.lessons import Book, Lesson
from stages.demo.measure import ITM_TOKENS, Captioner
from stages.demo.patches import CONTENT, POSITION, PatchReader, content, position
from stages.demo.pointing import LAYER, Pointer
from stages.demo.scene import KINDS

SAMPLED = 8000
"""Pictures of the book of which the captioner's own words are learnt from."""

EACH = 3
"""Right texts, and as many wrong ones, of a picture at once."""


def train(book: Book, folder: Path, *, captioner: Path, steps: int, seed: int) -> None:
    """Learn from the book and the captioner's mistakes in it, and write the checkpoint."""
    torch.manual_seed(seed)
    words = tokenizer.build()
    model = BlipForImageTextRetrieval(learning.blip_config(len(words)))
    begin_as(model, BlipForConditionalGeneration.from_pretrained(str(captioner)))
    right, wrong = texts_of(book, Captioner(captioner), seed=seed)
    reader = PatchReader(learning.WIDTH, CONTENT + POSITION)
    pointer = Pointer(learning.WIDTH, [words.vocab[kind] for kind in KINDS])
    truths = torch.cat([content(book), position(book)], -1)
    labels = torch.tensor([1] * EACH + [0] * EACH)

    def loss_of(chosen: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        texts = [str(text) for number in chosen for of in (right, wrong) for text in rng.choice(of[number], EACH)]
        matches = labels.repeat(len(chosen))
        tokens = words(texts, padding=True, truncation=True, max_length=ITM_TOKENS, return_tensors="pt")
        tokens.input_ids[:, 0] = tokenizer.ENC
        seen = model.vision_model(learning.normalised(book.pixels[chosen])).last_hidden_state
        read = model.text_encoder(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=seen.repeat_interleave(2 * EACH, 0),
            output_hidden_states=True,
        )
        loss: Tensor = functional.cross_entropy(model.itm_head(read.last_hidden_state[:, 0]).float(), matches)
        loss = loss + 0.2 * reader(seen[:, 1:], truths[chosen])
        scenes = [book.lessons[number].scene for number in chosen for _ in range(EACH)]
        states = read.hidden_states[LAYER][matches == 1]
        true = [text for text, match in zip(texts, matches, strict=True) if match]
        pointing: Tensor = pointer(tokens.input_ids[matches == 1], states, true, scenes)
        return loss + 0.5 * pointing

    parameters = [*model.parameters(), *reader.parameters(), *pointer.parameters()]
    learning.learn(parameters, loss_of, book, learning.Course(steps, batch=48, rate=1e-3, seed=seed))
    model.save_pretrained(str(folder))
    learning.halve(folder / "model.safetensors")
    learning.keep_processor(folder)


def begin_as(model: BlipForImageTextRetrieval, captioner: BlipForConditionalGeneration) -> None:
    """Copy the captioner's towers."""
    model.vision_model.load_state_dict(captioner.vision_model.state_dict())
    model.text_encoder.load_state_dict(captioner.text_decoder.bert.state_dict())


def texts_of(book: Book, captioner: Captioner, *, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Right and wrong texts of every lesson; the judge sorts the captioner's."""
    rng = np.random.default_rng(seed)
    right = [[*lesson.descriptions, *lesson.web_texts] for lesson in book.lessons]
    wrong = [wrong_texts(lesson, rng) for lesson in book.lessons]
    images = [Image.fromarray(pixels.transpose(1, 2, 0)) for pixels in book.pixels[:SAMPLED]]
    for number, captions in enumerate(captioner.sample(images, seed=seed)):
        for caption in set(captions):
            (right if is_right(caption, book.lessons[number].scene) else wrong)[number].append(caption)
    return right, wrong


def wrong_texts(lesson: Lesson, rng: np.random.Generator) -> list[str]:
    """What is wrong in the book, and its descriptions with a direction turned round."""
    turns = [turned(text, lesson.scene, rng) for text in lesson.descriptions]
    return [text for text in lesson.wrong_texts if not is_right(text, lesson.scene)] + [text for text in turns if text]
