"""The Q-Former's layer: BERT's post-norm blocks over rows of which the first are queries and the rest is text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

BERT_EPSILON = 1e-12
"""BERT's layer norms divide by the variance plus this."""


KeysValues = tuple[Tensor, Tensor]
"""What rows look at: keys and values, each (batch, heads, columns, head width)."""


class Attention(nn.Module):
    """Multi-head attention with BERT's output projection, residual and norm (Devlin et al. 2018)."""

    def __init__(self, width: int, source_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.output = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=BERT_EPSILON)

    def look(self, source: Tensor) -> KeysValues:
        """Keys and values of a source, (batch, columns, source width)."""
        return self._split(self.key(source)), self._split(self.value(source))

    def forward(self, rows: Tensor, source: KeysValues, mask: Tensor | None = None) -> Tensor:
        """Let rows look at a source.

        Args:
            rows: (batch, rows, width).
            source: from `look`; of one batch row, if all rows look at the same.
            mask: bool, broadcastable to (batch, heads, rows, columns); True where a row may look. None hides nothing.

        Returns:
            (batch, rows, width).
        """
        keys, values = (part.expand(len(rows), -1, -1, -1) for part in source)
        seen = scaled_dot_product_attention(
            self._split(self.query(rows)),
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        normed: Tensor = self.norm(rows + self.drop(self.output(seen.transpose(1, 2).flatten(2))))
        return normed

    def _split(self, rows: Tensor) -> Tensor:
        batch, number, width = rows.shape
        return rows.view(batch, number, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """BERT's two linear layers, wider in between, with residual and norm."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(width, eps=BERT_EPSILON)

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, rows, width) to the same."""
        normed: Tensor = self.norm(rows + self.body(rows))
        return normed


class Layer(nn.Module):
    """Self-attention that queries and text share; what follows is the queries' own or the text's own.

    Only queries look at the image, and only in the layers that have cross-attention.
    """

    def __init__(  # noqa: PLR0913 - its sizes
        self, width: int, vision_width: int, heads: int, inner: int, dropout: float, *, sees_image: bool
    ) -> None:
        super().__init__()
        self.attention = Attention(width, width, heads, dropout)
        self.image_attention = Attention(width, vision_width, heads, dropout) if sees_image else None
        self.query_feed_forward = FeedForward(width, inner, dropout)
        self.text_feed_forward = FeedForward(width, inner, dropout)

    def forward(self, rows: Tensor, queries: int, mask: Tensor | None, image: KeysValues | None) -> Tensor:
        """One layer.

        Args:
            rows: (batch, queries + text, width); either part may be absent.
            queries: how many of the rows are queries.
            mask: as in `Attention`.
            image: from `image_attention.look`; None where there is no query, or no cross-attention.
        """
        rows = self.attention(rows, self.attention.look(rows), mask)
        asking, text = rows[:, :queries], rows[:, queries:]
        parts = []
        if asking.shape[1]:
            if self.image_attention is not None and image is not None:
                asking = self.image_attention(asking, image)
            parts.append(self.query_feed_forward(asking))
        if text.shape[1]:
            parts.append(self.text_feed_forward(text))
        return torch.cat(parts, dim=1)
