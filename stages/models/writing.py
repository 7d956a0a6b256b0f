"""What draws tokens, or searches for the likeliest, asks of a model that writes texts about images."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Texts(Protocol):
    """Texts in the middle of being written: one row per text, all of them of the same length."""

    def read(self, ids: Tensor) -> Tensor:
        """Read one token more in every row, (rows,), int64; returns the next logits, (rows, vocabulary), float32."""
        ...

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows, given image by image; a row may come twice."""
        ...


class Writer(Protocol):
    """A model that writes."""

    def read_prompt(self, embeds: Tensor, prompt: list[int], candidates: int, steps: int) -> tuple[Texts, Tensor]:
        """Read the prompt of each image once, then go on with `candidates` rows for each.

        Args:
            embeds: of every image what the model looks at, or reads before the prompt: (images, rows, width).
            prompt: token ids.
            candidates: rows per image.
            steps: how many tokens may follow the prompt.

        Returns:
            The texts, and the logits of the first token, (images * candidates, vocabulary), float32.
        """
        ...
