"""BERT's tokenizer with the token that a caption begins with when it is to be written."""

from __future__ import annotations

from transformers import BertTokenizer

from stages.errors import UserError
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.source import find_source

START = "[DEC]"
"""As in BLIP; added to a tokenizer that has no such token. It becomes number 30522 of BERT's uncased vocabulary."""
FEWEST = 10
"""transformers makes a tokenizer with nothing but marks of a folder that has none."""


def load_bert_tokenizer(name: str, revision: str | None, key: str) -> BertTokenizer:
    """Load a BERT tokenizer from a hub name or a folder, and give it a start token.

    Raises:
        UserError: there is no such tokenizer, or it is no BERT tokenizer.
    """
    source = find_source(name, revision, key)
    try:
        with quiet():
            tokenizer: BertTokenizer = BertTokenizer.from_pretrained(source.location, revision=revision or "main")
    except LOADING_ERRORS as error:
        raise source.error("a BERT tokenizer", error) from None
    if len(tokenizer) < FEWEST:
        raise UserError(f"{key}: '{name}' has no tokenizer files (tokenizer.json or vocab.txt)")
    tokenizer.add_tokens([START], special_tokens=True)
    return tokenizer
