"""BERT's tokenizer with the tokens that BLIP and BLIP-2 begin a text with."""

from __future__ import annotations

from transformers import BertTokenizer

from stages.errors import UserError
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.source import find_source

START = "[DEC]"
"""As in BLIP; added to a tokenizer that has no such token. It becomes number 30522 of BERT's uncased vocabulary."""
LOOK = "[ENC]"
"""What BLIP begins a text with that is to be read together with an image; number 30523 there."""
FEWEST = 10
"""transformers makes a tokenizer with nothing but marks of a folder that has none."""


def load_bert_tokenizer(name: str, revision: str | None, key: str) -> BertTokenizer:
    """Load a BERT tokenizer from a hub name or a folder, and give it a start token.

    Raises:
        UserError: there is no such tokenizer, or it is no BERT tokenizer.
    """
    tokenizer = _load(name, revision, key)
    tokenizer.add_tokens([START], special_tokens=True)
    return tokenizer


def load_blip_tokenizer(name: str, revision: str | None, key: str) -> BertTokenizer:
    """Load a BERT tokenizer, and give it both of BLIP's tokens if it lacks them, as those of BLIP's folders do.

    Raises:
        UserError: there is no such tokenizer, or it is no BERT tokenizer.
    """
    tokenizer = _load(name, revision, key)
    tokenizer.add_special_tokens({"bos_token": START})
    tokenizer.add_special_tokens({"extra_special_tokens": [LOOK]})
    return tokenizer


def _load(name: str, revision: str | None, key: str) -> BertTokenizer:
    source = find_source(name, revision, key)
    try:
        with quiet():
            tokenizer: BertTokenizer = BertTokenizer.from_pretrained(source.location, revision=revision or "main")
    except LOADING_ERRORS as error:
        raise source.error("a BERT tokenizer", error) from None
    if len(tokenizer) < FEWEST:
        raise UserError(f"{key}: '{name}' has no tokenizer files (tokenizer.json or vocab.txt)")
    return tokenizer
