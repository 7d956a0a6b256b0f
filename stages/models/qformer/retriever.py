"""A Q-Former on an image tower, as it retrieves: by embeddings (ITC), and by the matching head (ITM)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from stages.contract import Dtype
from stages.models.device import autocast
from stages.models.qformer.model import QFormer, Seen, Text


@dataclass(frozen=True)
class QFormerRetriever:
    """The Q-Former computes in float32, or with bfloat16 where that is safe."""

    qformer: QFormer
    encoder: Callable[[Tensor], Tensor]
    """Pixels to the tokens that the Q-Former reads."""
    tokenizer: Callable[[Sequence[str]], Text]
    preparation: Callable[[Image.Image], Tensor]
    dtype: Dtype

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to the tower's pixels, (3, height, width), float32."""
        return self.preparation(image)

    def tokens(self, texts: Sequence[str]) -> Text:
        """Texts to what the Q-Former reads of them, on the CPU."""
        return self.tokenizer(texts)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels, (images, 3, height, width), to (images, tokens, width)."""
        return self.encoder(pixels)

    def embed_images(self, features: Tensor) -> Tensor:
        """(images, queries, projection), float32, of length 1."""
        with autocast(self.dtype, features.device):
            embedded = self.qformer.embed_image(self.qformer.encode_image(self.qformer.look(features)))
        return embedded.float()

    def embed_texts(self, text: Text) -> Tensor:
        """(texts, projection), float32, of length 1."""
        with autocast(self.dtype, text.ids.device):
            embedded = self.qformer.embed_text(self.qformer.encode_text(text))
        return embedded.float()

    def look(self, features: Tensor) -> Seen:
        """What the queries see of one image, (1, tokens, width)."""
        with autocast(self.dtype, features.device):
            return self.qformer.look(features)

    def match(self, seen: Seen, text: Text) -> Tensor:
        """ITM's logits, the mean over the queries: (texts, 2)."""
        with autocast(self.dtype, text.ids.device):
            return self.qformer.match(seen, text)
