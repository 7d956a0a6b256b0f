"""How BLIP cleans captions and questions before it reads them."""

from __future__ import annotations

import re

_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
MAX_WORDS = 30
"""Words that BLIP keeps of a caption in pretraining and on COCO."""
QUESTION_MAX_WORDS = 50
"""Words that BLIP keeps of a question."""
QFORMER_MAX_WORDS = 50
"""Words that BLIP-2 keeps of a caption that its Q-Former reads (LAVIS's default)."""


def clean(text: str, max_words: int = MAX_WORDS) -> str:
    """Lower-case, punctuation to spaces, runs of whitespace to one space, the first words only.

    Source: `pre_caption` of BLIP's data/utils.py. A text without a word becomes "".
    """
    return " ".join(_PUNCTUATION.sub(" ", text.lower()).split()[:max_words])


def clean_question(text: str, max_words: int = QUESTION_MAX_WORDS) -> str:
    """Lower-case, punctuation gone without a trace but for the question mark, the first words only.

    Source: `pre_question` of BLIP's data/utils.py, to which two blanks in a row have an empty word between them.
    """
    return " ".join(_PUNCTUATION.sub("", text.lower()).rstrip(" ").split(" ")[:max_words])
