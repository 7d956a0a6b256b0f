"""How well images and texts that were not trained on find one another."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.models.qformer.model import QFormer, Text, similarities

CHUNK = 64
"""Images whose similarities with all texts are computed at once."""


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
