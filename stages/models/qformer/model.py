"""The Q-Former of BLIP-2: learnt queries that read a frozen image tower, and a text model that shares their attention.

Li et al. 2023 (arXiv 2301.12597), section 3.1. What a row may look at is all that tells the passes apart:

| pass | rows | a query looks at | a text token looks at | image |
|---|---|---|---|---|
| A `encode_image` | queries | all queries | - | yes |
| B `encode_text` | text | - | all text | no |
| C `match` (ITM) | queries + text | all queries, all text | all queries, all text | yes |
| A + D `caption` (ITG) | queries + text | all queries | all queries, the text up to itself | yes |

Nobody looks at padding. The last pass computes A and D at once: as its queries do not see the text, they are those of
pass A, and the gradient of the caption reaches them through the keys and values that the text looks at.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, normalize

from stages.io.files import locate, scratch_folder
from stages.models.device import in_full
from stages.models.qformer.layers import BERT_EPSILON, KeysValues, Layer

STANDARD_DEVIATION = 0.02
"""Of all new weights, as in BERT, and of the queries, as in BLIP-2."""
BERT_WIDTH = 768
"""At other widths linear layers begin with the deviation that gives their outputs the same size as BERT's."""
TEMPERATURE = 0.07
TEMPERATURE_BOUNDS = (0.001, 0.5)
"""BLIP's. BLIP-2 has none: there, similarities are divided by whatever the optimiser makes of it."""


@dataclass(frozen=True)
class QFormerConfig:
    """The sizes of a Q-Former; the defaults are BLIP-2's."""

    vocabulary: int
    """Tokens of the tokenizer, the caption's start token included."""
    vision_width: int
    queries: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    projection: int = 256
    """Numbers in the embeddings that images and texts are compared by."""
    max_text_tokens: int = 32
    image_every: int = 2
    """Every how many layers, from the first on, the queries look at the image."""
    dropout: float = 0.1
    inner: int | None = None
    """How wide the feed-forwards are inside; None for BERT's four times the width."""

    @property
    def feed_forward(self) -> int:
        """The same as a number."""
        return self.inner or 4 * self.width


class Text(NamedTuple):
    """Tokens of a batch of texts."""

    ids: Tensor
    """(batch, tokens), int64."""
    real: Tensor
    """(batch, tokens), bool: False on padding."""

    @property
    def longest(self) -> Tensor:
        """Tokens of the longest text, a scalar."""
        return self.real.sum(dim=1).amax()

    def cut(self, tokens: int) -> Text:
        """The first columns; the same texts, where all that is left out is padding."""
        return Text(self.ids[:, :tokens], self.real[:, :tokens])

    def to(self, device: torch.device) -> Text:
        """The same on a device."""
        return Text(self.ids.to(device), self.real.to(device))


@dataclass(frozen=True)
class Seen:
    """What the queries see of images, for all passes that look at them: keys and values, made once."""

    images: int
    layers: tuple[KeysValues | None, ...]
    """Of every layer; None for one that has no cross-attention."""

    def pick(self, images: Tensor) -> Seen:
        """Of images by their numbers, (picked,), int64; one may be picked more than once."""
        return Seen(len(images), tuple(pair and (pair[0][images], pair[1][images]) for pair in self.layers))

    def join(self, others: Seen) -> Seen:
        """Of these images, then of others."""
        pairs = zip(self.layers, others.layers, strict=True)
        joined = (a and b and (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in pairs)
        return Seen(self.images + others.images, tuple(joined))


class Pass(Enum):
    """How queries and text look at one another; see the table at the top."""

    MATCH = "match"
    CAPTION = "caption"


def joint_mask(kind: Pass, queries: int, real: Tensor) -> Tensor:
    """Who may look at whom when queries and text are in one sequence.

    Args:
        kind: the pass.
        queries: how many rows precede the text.
        real: (batch, tokens), bool: False on padding.

    Returns:
        Bool, (batch, 1, rows, rows), True where a row may look at a column.
    """
    rows = queries + real.shape[1]
    allowed = torch.ones(rows, rows, dtype=torch.bool, device=real.device)
    if kind is Pass.CAPTION:
        allowed = allowed.tril()
        allowed[:queries, :queries] = True
    columns = torch.cat([real.new_ones(len(real), queries), real], dim=1)
    return allowed[None, None] & columns[:, None, None, :]


class QFormer(nn.Module):
    """Queries, text model and heads. It takes the features of a frozen image tower, not pixels."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.config = config
        self.vision_norm = nn.LayerNorm(config.vision_width)
        self.queries = nn.Parameter(torch.empty(1, config.queries, width))
        self.words = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Embedding(config.max_text_tokens, width)
        self.embedding_norm = nn.LayerNorm(width, eps=BERT_EPSILON)
        self.embedding_dropout = nn.Dropout(dropout)
        self.layers: Any = nn.ModuleList(
            Layer(
                width,
                config.vision_width,
                config.heads,
                config.feed_forward,
                dropout,
                sees_image=number % config.image_every == 0,
            )
            for number in range(config.layers)
        )
        self.image_projection = nn.Linear(width, config.projection)
        self.text_projection = nn.Linear(width, config.projection)
        self.match_head = nn.Linear(width, 2)
        self.word_transform = nn.Linear(width, width)
        self.word_norm = nn.LayerNorm(width, eps=BERT_EPSILON)
        self.word_bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        self._initialise()

    def look(self, features: Tensor) -> Seen:
        """What there is to see; features are (images, image tokens, vision width), of the frozen tower."""
        normed = self.vision_norm(features.to(self.vision_norm.weight.dtype))
        attentions = (layer.image_attention for layer in self.layers)
        return Seen(len(features), tuple(attention and attention.look(normed) for attention in attentions))

    def encode_image(self, seen: Seen) -> Tensor:
        """Pass A: what the queries make of images, (images, queries, width)."""
        return self._run(self._embed(None, seen.images), self.config.queries, None, seen)

    def encode_text(self, text: Text) -> Tensor:
        """Pass B: a text by itself; (batch, tokens, width)."""
        return self._run(self._embed(text.ids, 0), 0, text.real[:, None, None, :], None)

    def match(self, seen: Seen, text: Text) -> Tensor:
        """Pass C: whether a text describes an image; logits, (batch, 2), of which index 1 is "it does".

        Every query answers; the answers are averaged.

        Args:
            seen: of the batch, or of one image for all texts.
            text: of the batch.
        """
        mask = joint_mask(Pass.MATCH, self.config.queries, text.real)
        rows = self._run(self._embed(text.ids, len(text.ids)), self.config.queries, mask, seen)
        logits: Tensor = self.match_head(rows[:, : self.config.queries]).mean(dim=1)
        return logits

    def caption(self, seen: Seen, text: Text) -> tuple[Tensor, Tensor]:
        """Passes A and D: the queries, and the next word after each one.

        Args:
            seen: of the batch.
            text: begins with the caption's start token.

        Returns:
            (batch, queries, width), as `encode_image` gives it, and logits, (batch, tokens, vocabulary).
        """
        mask = joint_mask(Pass.CAPTION, self.config.queries, text.real)
        rows = self._run(self._embed(text.ids, len(text.ids)), self.config.queries, mask, seen)
        queries, spoken = rows[:, : self.config.queries], rows[:, self.config.queries :]
        transformed = self.word_norm(gelu(self.word_transform(spoken)))
        return queries, linear(transformed, self.words.weight, self.word_bias)

    def embed_image(self, queries: Tensor) -> Tensor:
        """Query rows to embeddings of length 1, (batch, queries, projection), float32 at least."""
        return normalize(in_full(self.image_projection(queries)), dim=-1)

    def embed_text(self, rows: Tensor) -> Tensor:
        """Text rows to one embedding of length 1, (batch, projection), float32 at least: that of the first token."""
        return normalize(in_full(self.text_projection(rows[:, 0])), dim=-1)

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Bring the temperature back into its bounds; to be called after every step of the optimiser."""
        self.temperature.clamp_(*TEMPERATURE_BOUNDS)

    def _initialise(self) -> None:
        """BERT's initial values; layer norms begin as torch makes them."""
        linear_deviation = STANDARD_DEVIATION * math.sqrt(BERT_WIDTH / self.config.width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=linear_deviation)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=STANDARD_DEVIATION)
        nn.init.normal_(self.queries, std=STANDARD_DEVIATION)

    def _embed(self, ids: Tensor | None, images: int) -> Tensor:
        """The rows that go into the first layer: queries for so many images, then the words with their positions."""
        parts = [self.queries.expand(images, -1, -1)] if images else []
        if ids is not None:
            parts.append(self.words(ids) + self.positions.weight[: ids.shape[1]])
        rows: Tensor = self.embedding_dropout(self.embedding_norm(torch.cat(parts, dim=1)))
        return rows

    def _run(self, rows: Tensor, queries: int, mask: Tensor | None, seen: Seen | None) -> Tensor:
        for number, layer in enumerate(self.layers):
            rows = layer(rows, queries, mask, seen and seen.layers[number])
        return rows


def similarities(images: Tensor, texts: Tensor) -> Tensor:
    """ITC's similarity: the best query's cosine (Li et al. 2023, arXiv 2301.12597, section 3.1).

    Args:
        images: (images, queries, projection), of length 1.
        texts: (texts, projection), of length 1.

    Returns:
        (images, texts), in [-1, 1].
    """
    with torch.autocast(images.device.type, enabled=False):  # two digits of a cosine are too few at temperature 0.07
        return torch.einsum("iqp,tp->itq", images, texts).amax(dim=-1)


def config_metadata(config: QFormerConfig) -> dict[str, str]:
    """What a file of weights says of itself, so that `load_qformer` needs nothing else.

    One entry and no more: safetensors writes several in an order that changes from process to process, and the same
    weights are to make the same file.
    """
    return {"config": json.dumps(asdict(config))}


def load_qformer(url: str | Path) -> QFormer:
    """A Q-Former from its safetensors file (a path or an fsspec URL), on the CPU, in evaluation mode.

    Raises:
        KeyError: the file says nothing of its sizes.
    """
    filesystem, path = locate(str(url))
    with scratch_folder() as folder:
        local = folder / "qformer.safetensors"  # safetensors reads no other than local files
        filesystem.get_file(path, str(local))
        with safe_open(local, framework="pt") as file:
            model = QFormer(QFormerConfig(**json.loads(file.metadata()["config"])))
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no mapping
    return model.eval()
