"""The kinds of what stages write: each with its columns, the view that shows it, and what stays of a forgotten row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from stages import tables
from stages.evaluate.tables import ANSWERING, CAPTIONING, RANKS
from stages.pretrain.tables import METRICS
from stages.results import coco_results, vqa_results


@dataclass(frozen=True)
class Kind:
    """What all results of a kind have in common."""

    schema: pa.Schema
    view: str
    """The view of all rows that were written of the kind."""
    kept: tuple[str, ...] | None = None
    """The columns that stay of a row whose image was forgotten; None: the row goes."""
    is_model: bool = False
    """Whether it was learnt of its data, and is kept when these change: the history of a training, beside which the
    model lies, or what was fitted itself."""
    end: bool = True
    """Whether it may be what somebody is after; else it is made for other steps alone."""
    sides: Mapping[str, Callable[[pa.Table], bytes]] = field(default_factory=dict)
    """The side files that say the same as the table in another format, by ending, and what makes them of it; all others
    are tars with a sample per row, or none."""


KINDS: Final[Mapping[str, Kind]] = {
    "urls": Kind(tables.URLS, "urls", kept=("key", "source", "url", "file")),
    "images": Kind(tables.IMAGES, "raw_images", kept=("key", "url", "sha256", "md5", "retry")),
    "hashes": Kind(tables.HASHES, "raw_hashes", end=False),
    "duplicates": Kind(tables.DUPLICATES, "duplicates", end=False),
    "captions": Kind(tables.CAPTIONS, "raw_captions"),
    "questions": Kind(tables.QUESTIONS, "questions"),
    "answers": Kind(tables.ANSWERED, "answers", sides={"json": vqa_results}),
    "predictions": Kind(tables.PREDICTIONS, "predictions", sides={"json": coco_results}),
    "similarities": Kind(tables.SIMILARITIES, "raw_rank", end=False),
    "matches": Kind(tables.MATCHES, "raw_filter", end=False),
    "weights": Kind(tables.WEIGHTS, "raw_weights", is_model=True, end=False),
    "repeats": Kind(tables.REPEATS, "repeats", end=False),
    "selection": Kind(tables.SELECTION, "raw_select"),
    "qformer": Kind(METRICS, "pretraining", is_model=True),
    "checkpoint": Kind(tables.TRAINING, "training", is_model=True),
    "retrieval": Kind(RANKS, "ranks"),
    "captioning": Kind(CAPTIONING, "raw_captioning"),
    "answering": Kind(ANSWERING, "answering"),
}
"""By the name that the stages' ports have for it."""
