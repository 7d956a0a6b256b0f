"""What the three trainings share: BLIP's sizes, pixels, the loop, and how weights are kept."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BlipConfig, BlipImageProcessor, BlipProcessor

from stages.demo import tokenizer
from stages.demo.lessons import PIXELS, Book

logger = logging.getLogger(__name__)

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
WIDTH, HEADS, PATCH = 128, 4, 8
VISION_LAYERS, TEXT_LAYERS = 4, 3
MAX_TEXT = 64

Loss = Callable[[NDArray[np.int64], np.random.Generator], Tensor]


def blip_config(vocabulary: int) -> BlipConfig:
    """BLIP in small; every number that the defaults would set for a large one is said."""
    layer = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": HEADS}
    vision = {**layer, "num_hidden_layers": VISION_LAYERS, "image_size": PIXELS, "patch_size": PATCH}
    text = {
        **layer,
        "num_hidden_layers": TEXT_LAYERS,
        "vocab_size": vocabulary,
        "encoder_hidden_size": WIDTH,
        "projection_dim": WIDTH,
        "max_position_embeddings": MAX_TEXT,
        "bos_token_id": tokenizer.DEC,
        "eos_token_id": vocabulary - 1,
        "sep_token_id": vocabulary - 1,
        "pad_token_id": tokenizer.PAD,
    }
    return BlipConfig(
        text_config=text,
        vision_config={**vision, "initializer_range": 0.02, "projection_dim": WIDTH},
        projection_dim=WIDTH,
        image_text_hidden_size=WIDTH,
    )


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels as CLIP and BLIP take them."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (torch.from_numpy(pixels).float() / 255 - mean) / std


@dataclass(frozen=True)
class Course:
    """How one learns: AdamW with a warm-up and a cosine fall."""

    steps: int
    batch: int
    rate: float
    seed: int


def learn(parameters: Iterable[nn.Parameter], loss_of: Loss, book: Book, course: Course) -> None:
    """Go through the book, in a new order each time round."""
    parameters = list(parameters)
    optimiser = torch.optim.AdamW(parameters, lr=course.rate, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate, course.steps, pct_start=0.08)
    began = time.monotonic()
    for step, (chosen, rng) in enumerate(batches(len(book), course), 1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(chosen, rng)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("step %d of %d, loss %.4f, %.0f s", step, course.steps, loss.item(), time.monotonic() - began)


def batches(lessons: int, course: Course) -> Iterator[tuple[NDArray[np.int64], np.random.Generator]]:
    """The lessons of every step, and the step's random numbers."""
    rng = np.random.default_rng(course.seed)
    order = np.empty(0, dtype=np.int64)
    for _ in range(course.steps):
        if len(order) < course.batch:
            order = rng.permutation(lessons)
        chosen, order = order[: course.batch], order[course.batch :]
        yield chosen, rng


def keep_processor(folder: Path) -> None:
    """Tokenizer and image processor beside a BLIP model."""
    words = tokenizer.build()
    size = {"height": PIXELS, "width": PIXELS}
    pixels = BlipImageProcessor(size=size, image_mean=list(MEAN), image_std=list(STD))
    BlipProcessor(pixels, words).save_pretrained(str(folder))  # type: ignore[no-untyped-call]
    tokenizer.save(words, folder)


def halve(weights: Path) -> None:
    """Keep weights in half precision; the config goes on saying float32, in which they are loaded."""
    values = {name: value.half().contiguous() for name, value in load_file(weights).items()}
    save_file(values, weights, {"format": "pt"})
