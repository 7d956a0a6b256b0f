"""BLIP's caption cleaning: what its matching filter was trained to read."""

from __future__ import annotations

import re

_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
MAX_WORDS = 30
"""Words that BLIP keeps of a caption in pretraining and on COCO."""
QFORMER_MAX_WORDS = 50
"""Words that BLIP-2 keeps of a caption that its Q-Former reads (LAVIS's default)."""


def clean(text: str, max_words: int = MAX_WORDS) -> str:
    """Lower-case, punctuation to spaces, runs of whitespace to one space, the first words only.

    Source: `pre_caption` of BLIP's data/utils.py. A text without a word becomes "".
    """
    return " ".join(_PUNCTUATION.sub(" ", text.lower()).split()[:max_words])
