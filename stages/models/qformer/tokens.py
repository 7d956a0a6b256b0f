"""Captions to tokens, all padded to one length, so that workers can exchange them."""

from __future__ import annotations

from collections.abc import Sequence

from stages.models.bert_tokenizer import START, load_bert_tokenizer
from stages.models.qformer.model import Text

KEY = "pretrain.tokenizer"
"""The manifest key that names the tokenizer."""


class Tokens:
    """A BERT tokenizer with a start token.

    Raises:
        UserError: there is no such tokenizer, or it is no BERT tokenizer.
    """

    def __init__(self, name: str, revision: str | None, length: int) -> None:
        self._tokenizer = load_bert_tokenizer(name, revision, KEY)
        self._length = length

    @property
    def start(self) -> int:
        """The token that a caption begins with when it is to be written."""
        number = self._tokenizer.convert_tokens_to_ids(START)
        assert isinstance(number, int)
        return number

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, the start token included."""
        return len(self._tokenizer)

    def __call__(self, captions: Sequence[str]) -> Text:
        """[CLS] words [SEP] padding, on the CPU; a longer caption loses its last words."""
        found = self._tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        )
        return Text(found["input_ids"], found["attention_mask"].bool())
