"""What a BLIP that is trained is measured by: images that are kept back, each with its best caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.blip.trainable.contrast import Contrast
from stages.models.blip.trainable.losses import unit
from stages.models.blip.trainable.texts import Texts
from stages.models.blip.trainable.tokens import BlipTokens
from stages.models.device import autocast
from stages.training.corpus import Corpus
from stages.training.examples import Example
from stages.training.pictures import Pictures
from stages.training.reading import Prepare, Reader
from stages.training.recall import LIMIT, chance, mean_recall, recall_at_1
from stages.training.task import Row

CHUNK = 64
"""Images that are looked at at once."""


class HeldOut(NamedTuple):
    """The images, on the CPU."""

    images: Tensor
    """(images, 3, height, width), or (images, tokens, width) of a frozen tower."""
    captions: tuple[str, ...]
    """The best of each."""
    references: tuple[tuple[str, ...], ...]
    """All of each."""
    texts: tuple[Texts, ...]
    """The captions' tokens, `CHUNK` at a time."""


def hold_out(key: str, corpus: Corpus, pictures: Pictures, tokens: BlipTokens) -> HeldOut | None:
    """Read what is kept back of a corpus, `recall.LIMIT` images at most; None where nothing is.

    Raises:
        UserError: fewer than two of them can be decoded.
    """
    if (kept := read_held_out(key, corpus, pictures)) is None:
        return None
    images, found = kept
    captions = tuple(example.captions[0] for example in found)
    chunks = (captions[first : first + CHUNK] for first in range(0, len(captions), CHUNK))
    references = tuple(tuple(example.captions) for example in found)
    return HeldOut(images, captions, references, tuple(tokens(chunk) for chunk in chunks))


def read_held_out(key: str, corpus: Corpus, pictures: Pictures) -> tuple[Tensor, list[Example]] | None:
    """The images, as `HeldOut` has them, and what goes with each; None where nothing is kept back.

    Raises:
        UserError: fewer than two of them can be decoded.
    """
    if not corpus.size.holdout:
        return None
    examples = corpus.held_out(LIMIT)
    if pictures.encoder is not None:
        images, found = pictures.encoder.encode_all(examples)
    else:
        images, found = _read_all(examples, pictures.reader, pictures.evaluated)
    if len(found) < 2:
        raise UserError(f"{key}.holdout: fewer than two of its images can be decoded; raise it, or set 0")
    return images, found


def _read_all(examples: Sequence[Example], reader: Reader, prepare: Prepare) -> tuple[Tensor, list[Example]]:
    """Pixels of all that can be decoded."""
    while examples:
        pixels = reader.read([(example, 0) for example in examples], prepare)
        if pixels is not None:
            return pixels, list(examples)
        examples = [example for example in examples if example not in reader.broken]
    return torch.empty(0), []


@torch.no_grad()
def retrieval(model: Contrast, held_out: HeldOut, dtype: Dtype, device: torch.device) -> Row:
    """Recall of ITC in both directions, and what guessing gives; the model stays in the mode that it was in."""
    training = model.training
    model.eval()
    images, texts = [], []
    with autocast(dtype, device):
        for number, chunk in enumerate(held_out.texts):
            seen = model.see(held_out.images[number * CHUNK : (number + 1) * CHUNK].to(device))
            images.append(unit(model.vision_proj(seen[:, 0])))
            texts.append(unit(model.text_proj(model.text_encoder(chunk.to(device), first=True))))
    model.train(training)
    similarity = torch.cat(images) @ torch.cat(texts).T
    recall = recall_at_1(similarity, held_out.captions)
    return {
        "images": len(held_out.captions),
        "r1_image_to_text": recall.image_to_text,
        "r1_text_to_image": recall.text_to_image,
        "mean_recall": mean_recall(similarity, held_out.captions),
        "chance": chance(held_out.captions),
    }
