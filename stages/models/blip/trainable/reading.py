"""Which token sees what: the tokens of its own text, and what the text is about. Padding exists only in attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from stages.models.blip.trainable.texts import Texts
from stages.models.ragged import Ragged

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each (sources, heads, columns, head width)."""


class Seen(NamedTuple):
    """What sources (images, or questions) show to every layer of a text stack; computed once."""

    layers: tuple[KeysValues, ...]
    mask: Tensor | None = None
    """(sources, 1, 1, columns), bool: False on padding. None where there is none."""

    def pick(self, which: Tensor) -> Seen:
        """Those sources, (picked,), int64; one may come several times."""
        layers = tuple((keys[which], values[which]) for keys, values in self.layers)
        return Seen(layers, None if self.mask is None else self.mask[which])


class Look(NamedTuple):
    """A run of texts and the sources that they look at."""

    seen: Seen
    texts: Sequence[int]
    """How many of the texts, in their order, belong to each source."""


class Reading:
    """The attention of one pass over texts."""

    def __init__(self, texts: Texts, looks: Sequence[Look], *, causal: bool, first: bool) -> None:
        """Lay out a pass.

        Args:
            texts: what is read.
            looks: what they look at, in the order of the texts; none for texts by themselves.
            causal: whether a token sees no later one. Padding stands behind a text, so that no other mask is needed.
            first: whether the last layer is wanted of each text's first token only.
        """
        device = texts.ids.device
        self.causal = causal
        self.by_text = Ragged(texts.lengths, device)
        even = causal or self.by_text.is_even
        self.mask = None if even else self.by_text.mask[:, None, None]
        self.starts = torch.tensor(texts.starts, device=device) if first else None
        self._seen = [look.seen for look in looks]
        lengths = iter(texts.lengths)
        tokens = [[sum(islice(lengths, number)) for number in look.texts] for look in looks]
        self._of_tokens = [Ragged(sizes, device) for sizes in tokens]
        self._of_firsts = [Ragged(look.texts, device) for look in looks] if first else []

    @property
    def looks(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._seen)

    def within(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float) -> Tensor:
        """Self-attention; each (tokens, heads, head width), to (tokens, width)."""
        asking, shown, told = (self.by_text.pad(rows).transpose(1, 2) for rows in (queries, keys, values))
        seen = scaled_dot_product_attention(
            asking, shown, told, attn_mask=self.mask, dropout_p=dropout, is_causal=self.causal
        )
        return self.by_text.flatten(seen.transpose(1, 2)).flatten(1)

    def within_first(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float) -> Tensor:
        """The same for the first tokens alone; queries are (texts, heads, head width), the result (texts, width)."""
        shown, told = (self.by_text.pad(rows).transpose(1, 2) for rows in (keys, values))
        asking = queries[:, :, None]
        return scaled_dot_product_attention(asking, shown, told, attn_mask=self.mask, dropout_p=dropout).flatten(1)

    def across(self, layer: int, queries: Tensor, dropout: float, *, first: bool) -> Tensor:
        """Cross-attention of a layer; queries are (rows, heads, head width), the result is (rows, width)."""
        layouts = self._of_firsts if first else self._of_tokens
        runs = torch.split(queries, [len(by_source.place) for by_source in layouts])
        return torch.cat(list(self._look(layer, layouts, runs, dropout)))

    def _look(self, layer: int, layouts: Sequence[Ragged], runs: Sequence[Tensor], dropout: float) -> Iterator[Tensor]:
        for seen, by_source, rows in zip(self._seen, layouts, runs, strict=True):
            keys, values = seen.layers[layer]
            asking = by_source.pad(rows).transpose(1, 2)
            found = scaled_dot_product_attention(asking, keys, values, attn_mask=seen.mask, dropout_p=dropout)
            yield by_source.flatten(found.transpose(1, 2)).flatten(1)
