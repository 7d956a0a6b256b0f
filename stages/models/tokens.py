"""Captions to tokens, all padded to one length, so that workers can exchange them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import BertTokenizer

from stages.errors import UserError
from stages.models.loading import LOADING_ERRORS, find_source, quiet
from stages.models.qformer import Text

START = "[DEC]"
"""What a caption begins with when it is to be written, as in BLIP; added to a tokenizer that has no such token."""
KEY = "pretrain.tokenizer"
"""The manifest key that names the tokenizer."""
FEWEST = 10
"""transformers makes a tokenizer with nothing but marks of a folder that has none."""


class Tokens:
    """A BERT tokenizer with a start token.

    Raises:
        UserError: there is no such tokenizer, or it is no BERT tokenizer.
    """

    def __init__(self, name: str, revision: str | None, length: int, device: torch.device) -> None:
        kind = "a BERT tokenizer"
        source = find_source(name, revision, KEY)
        try:
            with quiet():
                self._tokenizer = BertTokenizer.from_pretrained(source.location, revision=revision or "main")
        except LOADING_ERRORS as error:
            raise source.error(kind, error) from None
        if len(self._tokenizer) < FEWEST:
            raise UserError(f"{KEY}: '{name}' has no tokenizer files (tokenizer.json or vocab.txt)")
        self._tokenizer.add_tokens([START], special_tokens=True)
        self._length = length
        self._device = device

    @property
    def start(self) -> int:
        """The token that a caption begins with when it is to be written."""
        number: int = self._tokenizer.convert_tokens_to_ids(START)
        return number

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, the start token included."""
        return len(self._tokenizer)

    def __call__(self, captions: Sequence[str]) -> Text:
        """[CLS] words [SEP] padding; a longer caption loses its last words."""
        found = self._tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        )
        return Text(found["input_ids"].to(self._device), found["attention_mask"].to(self._device).bool())
