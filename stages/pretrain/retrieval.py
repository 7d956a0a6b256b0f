"""How well images and texts that were not trained on find one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.models.qformer.model import QFormer, Text, similarities

LIMIT = 5000
"""Images that are measured with at most, as many as COCO's test set has: the work grows with their square."""
CHUNK = 64
"""Images whose similarities with all texts are computed at once."""


class Recall(NamedTuple):
    """The share of images, and of texts, whose nearest counterpart is right."""

    image_to_text: float
    text_to_image: float


def recall_at_1(similarity: Tensor, captions: Sequence[str]) -> Recall:
    """Recall among images with one caption each.

    Where images share a caption word for word, nobody could tell them apart: any of them is right.

    Args:
        similarity: (images, texts); text n is image n's.
        captions: the texts.
    """
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    said = torch.tensor([numbers[caption] for caption in captions], device=similarity.device)
    best_text, best_image = similarity.argmax(dim=1), similarity.argmax(dim=0)
    return Recall(*((said[best] == said).float().mean().item() for best in (best_text, best_image)))


@torch.no_grad()
def compare(model: QFormer, features: Tensor, text: Text) -> Tensor:
    """ITC's similarity of every image with every text, (images, texts); the model stays in the mode that it was in.

    Features and text may lie elsewhere than the model: they are brought to it in chunks.
    """
    training, device = model.training, model.queries.device
    model.eval()
    chunks = [slice(first, first + CHUNK) for first in range(0, len(features), CHUNK)]
    told = (Text(text.ids[chunk], text.real[chunk]).to(device) for chunk in chunks)
    texts = torch.cat([model.embed_text(model.encode_text(chunk)) for chunk in told])
    seen = (model.look(features[chunk].to(device)) for chunk in chunks)
    rows = [similarities(model.embed_image(model.encode_image(chunk)), texts) for chunk in seen]
    model.train(training)
    return torch.cat(rows)
