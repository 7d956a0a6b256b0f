"""Captions to the tokens that BLIP is trained on: BERT's, and two marks behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stages.models.bert_tokenizer import LOOK, START, load_blip_tokenizer
from stages.models.blip.trainable.texts import Texts

BERT: Final = "google-bert/bert-base-uncased"
"""Whose tokens the published `.pth` files read, which have no tokenizer beside them."""


class BlipTokens:
    """A BERT tokenizer with [DEC] and [ENC].

    Raises:
        UserError: there is no such tokenizer, or it is no BERT tokenizer.
    """

    def __init__(self, name: str, revision: str | None, length: int, key: str) -> None:
        """Load it.

        Args:
            name: a hub name, or a folder.
            revision: the hub commit; None for what is local.
            length: tokens that are read of a text, its marks included.
            key: the manifest key that names it, for messages.
        """
        self.tokenizer = load_blip_tokenizer(name, revision, key)
        self._length = length

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, the marks included."""
        return len(self.tokenizer)

    @property
    def start(self) -> int:
        """The number of [DEC]."""
        return self._number(START)

    @property
    def look(self) -> int:
        """The number of [ENC]."""
        return self._number(LOOK)

    def __call__(self, captions: Sequence[str], length: int | None = None) -> Texts:
        """[CLS] words [SEP], on the CPU; a text of more than `length` tokens loses its last words."""
        length = length or self._length
        return Texts.of(self.tokenizer(list(captions), truncation=True, max_length=length)["input_ids"])

    def count(self, prompt: str) -> int:
        """Tokens of a prompt, with [CLS] and without [SEP]."""
        return len(self.tokenizer(prompt)["input_ids"]) - 1

    def _number(self, mark: str) -> int:
        number = self.tokenizer.convert_tokens_to_ids(mark)
        assert isinstance(number, int)
        return number
