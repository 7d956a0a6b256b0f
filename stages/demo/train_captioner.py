"""The demo's captioner: BLIP's decoder, learnt from what people say of the pictures.

As in BLIP, every text follows the prompt "a picture of", which is not learnt. The second task of patches.py teaches the
image tower to see; where things lie it leaves to the captioner, which is never quite sure of that.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BlipForConditionalGeneration

from stages.demo import learning, tokenizer
from stages.demo.lessons import Book
from stages.demo.patches import CONTENT, PatchReader, content

PROMPT = "a picture of "
TEXTS_AT_ONCE = 3


def train(book: Book, folder: Path, *, steps: int, seed: int) -> None:
    """Learn from the book and write the checkpoint."""
    torch.manual_seed(seed)
    words = tokenizer.build()
    model = BlipForConditionalGeneration(learning.blip_config(len(words)))
    reader = PatchReader(learning.WIDTH, CONTENT)
    truths = content(book)
    prompt = len(words(PROMPT).input_ids) - 1

    def loss_of(chosen: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        seen = model.vision_model(learning.normalised(book.pixels[chosen])).last_hidden_state
        texts = [
            PROMPT + str(text)
            for number in chosen
            for text in rng.choice(book.lessons[number].descriptions, TEXTS_AT_ONCE, replace=False)
        ]
        tokens = words(texts, padding=True, return_tensors="pt")
        tokens.input_ids[:, 0] = tokenizer.DEC
        labels = tokens.input_ids.masked_fill(tokens.input_ids == tokenizer.PAD, -100)
        labels[:, :prompt] = -100
        spoken = model.text_decoder(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=seen.repeat_interleave(TEXTS_AT_ONCE, 0),
            labels=labels,
        )
        loss: Tensor = spoken.loss + reader(seen[:, 1:], truths[chosen])
        return loss

    parameters = [*model.parameters(), *reader.parameters()]
    learning.learn(parameters, loss_of, book, learning.Course(steps, batch=64, rate=1e-3, seed=seed))
    model.save_pretrained(str(folder))
    learning.halve(folder / "model.safetensors")
    learning.keep_processor(folder)
