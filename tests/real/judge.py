"""A model's scores of held-out photographs with their own captions and with others'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from stages.models.families import load_scorer
from stages.models.family import ModelName
from stages.pictures import decode
from tests.real.measure import auc

BATCH = 16


def auc_of(model: Path, role: Literal["ranker", "filter"], pictures: Sequence[Path], texts: list[list[str]]) -> float:
    """How well it tells the first text of every picture from the further ones."""
    scorer = load_scorer(ModelName(f"{role}.model", str(model)), role, "float32", torch.device("cpu"))
    found: list[list[float]] = []
    for first in range(0, len(pictures), BATCH):
        pixels = [scorer.preprocess(decode(file.read_bytes())) for file in pictures[first : first + BATCH]]
        asked = [[scorer.prepare(text) for text in each] for each in texts[first : first + BATCH]]
        with torch.no_grad():
            found += _score(scorer, torch.stack(pixels), asked)
    return auc([row[0] for row in found], [score for row in found for score in row[1:]])


def _score(scorer: object, pixels: torch.Tensor, texts: list[list[str]]) -> list[list[float]]:
    """Scores of texts, of which a scorer wants each but once."""
    distinct = [list(dict.fromkeys(each)) for each in texts]
    scores = scorer.score(pixels, distinct)  # type: ignore[attr-defined]
    tables = [dict(zip(*each, strict=True)) for each in zip(distinct, scores, strict=True)]
    return [[table[text] for text in each] for table, each in zip(tables, texts, strict=True)]
