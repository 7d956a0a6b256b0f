"""The demo's captioner: BLIP's decoder, learnt from what people say of the pictures.

As in BLIP, every text follows the prompt "a picture of", which is not learnt. A second task that is thrown away
afterwards teaches the image tower to read: each patch says what lies on it. Without it most of the time goes by
before shapes are told apart.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import BlipForConditionalGeneration

from stages.demo import learning, tokenizer
from stages.demo.lessons import PIXELS, Book, Lesson
from stages.demo.scene import COLOURS, KINDS, SIZES, frame

PROMPT = "a picture of "
TEXTS_AT_ONCE = 3
GRID = PIXELS // learning.PATCH


class PatchReader(nn.Module):
    """What lies on each patch: a kind, a colour and a size, or nothing (the last class of each)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, len(classes) + 1) for classes in (KINDS, COLOURS, SIZES))

    def forward(self, patches: Tensor, truth: Tensor) -> Tensor:
        """The loss of reading these patches."""
        losses = [
            functional.cross_entropy(head(patches).flatten(0, 1).float(), truth[..., number].flatten())
            for number, head in enumerate(self.heads)
        ]
        return torch.stack(losses).sum()


def patch_truth(lesson: Lesson) -> NDArray[np.int64]:
    """(patch, [kind, colour, size]) of a picture."""
    truth = np.tile(np.array([len(KINDS), len(COLOURS), len(SIZES)]), (GRID * GRID, 1))
    width, height = frame(lesson.scene.aspect)
    rows, columns = np.divmod(np.arange(GRID * GRID), GRID)
    for shape in lesson.scene.shapes:
        across, along = ((columns + 0.5) / GRID - shape.x) * width, ((rows + 0.5) / GRID - shape.y) * height
        truth[np.hypot(across, along) < shape.radius] = (
            KINDS.index(shape.kind),
            COLOURS.index(shape.colour),
            SIZES.index(shape.size),
        )
    return truth


def train(book: Book, folder: Path, *, steps: int, seed: int) -> None:
    """Learn from the book and write the checkpoint."""
    torch.manual_seed(seed)
    words = tokenizer.build()
    model = BlipForConditionalGeneration(learning.blip_config(len(words)))
    reader = PatchReader(learning.WIDTH)
    truths = torch.from_numpy(np.stack([patch_truth(lesson) for lesson in book.lessons]))
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
