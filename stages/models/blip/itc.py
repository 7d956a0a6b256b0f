"""BLIP's matching model as it retrieves: by embeddings (ITC), and by the matching head (ITM).

Texts begin with [CLS] where they are compared by their embeddings, and with [ENC] where they look at an image; the
published code does the same (BLIP's train_retrieval.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import BlipForImageTextRetrieval

from stages.contract import Dtype
from stages.models.blip.checkpoint import Blip
from stages.models.blip.itm import ItmScorer, load_parts
from stages.models.blip.med import ImageKeys, within_texts
from stages.models.family import ModelName
from stages.models.finite import unit
from stages.models.qformer.model import Text
from stages.models.ragged import Ragged


class BlipRetriever(ItmScorer):
    """A matching model with its two projections."""

    def __init__(self, blip: Blip[BlipForImageTextRetrieval], enc: int) -> None:
        super().__init__(blip, enc)
        self._image_projection, self._text_projection = blip.model.vision_proj, blip.model.text_proj

    def tokens(self, texts: Sequence[str]) -> Text:
        """[CLS] words [SEP] of the cleaned texts, on the CPU; a longer text loses its last words."""
        said = [self.prepare(text) for text in texts]
        read = self._tokenizer(said, padding=True, truncation=True, max_length=self._most_tokens, return_tensors="pt")
        return Text(read["input_ids"], read["attention_mask"].bool())

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels, (images, 3, height, width), to (images, 1 + patches, width)."""
        features: Tensor = self._vision(pixels)
        return features

    @torch.inference_mode()
    def embed_images(self, features: Tensor) -> Tensor:
        """The class token's projection: (images, 1, projection), float32, of length 1."""
        return unit(self._image_projection(features[:, :1]).float())

    @torch.inference_mode()
    def embed_texts(self, text: Text) -> Tensor:
        """The projection of [CLS] in the text encoder that looks at no image: (texts, projection), float32."""
        by_text = _layout(text)
        hidden = self._text(text.ids[text.real], by_text.place, within_texts(by_text), None, by_text)
        return unit(self._text_projection(hidden[by_text.place == 0]).float())

    @torch.inference_mode()
    def look(self, features: Tensor) -> list[ImageKeys]:
        """Every layer's keys and values of one image, (1, 1 + patches, width)."""
        return self._text.look(features)

    @torch.inference_mode()
    def match(self, seen: Sequence[ImageKeys], text: Text) -> Tensor:
        """The matching head's logits of texts with that image: (texts, 2), float32."""
        by_image = Ragged([int(text.real.sum())], text.ids.device)
        return self._judge(text.ids[text.real], _layout(text), seen, by_image)


def _layout(text: Text) -> Ragged:
    return Ragged(text.real.sum(dim=1).tolist(), text.ids.device)


def load_retriever(name: ModelName, dtype: Dtype, device: torch.device) -> BlipRetriever:
    """Load a BLIP matching model with its projections.

    Raises:
        UserError: there is no such model, or it has no [ENC] token.
    """
    return BlipRetriever(*load_parts(name, dtype, device))
