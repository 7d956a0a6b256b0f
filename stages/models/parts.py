"""Whether the parts of a checkpoint fit one another: image processor, tokenizer and model may come from three places.

Checked when a model is loaded, for otherwise the first images fail, again and again, in the words of a tensor library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from PIL import Image
from torch import Tensor

from stages.errors import UserError
from stages.models.source import Source, why

SAMPLES: Final = ((64, 48), (48, 64))
"""Widths and heights of pictures that are prepared to see what becomes of them."""


def check_pictures(source: Source, prepare: Callable[[Image.Image], Tensor], size: tuple[int, int]) -> None:
    """See that pictures are prepared in the size that the model reads.

    Args:
        source: the model's, for messages.
        prepare: an RGB image to pixels.
        size: height and width that the model reads.

    Raises:
        UserError: they are not, or cannot be prepared at all.
    """
    where = f"{source.key}: the image processor of '{source.location}'"
    try:
        found = [prepare(Image.new("RGB", sample)) for sample in SAMPLES]
    except Exception as error:  # noqa: BLE001 - whatever it is, the settings of the processor raise it
        raise UserError(f"{where} cannot prepare a picture ({why(error)}); look at its settings") from None
    if any(not pixels.isfinite().all() for pixels in found):
        raise UserError(f"{where} makes pixels that are not finite; its deviations (std) must not be 0")
    one, other = (tuple(pixels.shape) for pixels in found)
    if one != other:
        raise UserError(
            f"{where} leaves pictures in sizes of their own, and its model reads {_by(size)}; let it resize"
        )
    if one != (3, *size):
        raise UserError(
            f"{where} makes pictures of {_by(one[1:])} pixels, and its model reads {_by(size)}; set both "
            "(in preprocessor_config.json and config.json) to the size that the model was trained at"
        )


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def check_weights(source: Source, info: Mapping[str, Any], kind: str) -> None:
    """See that transformers found all weights of a model: what is not there, or unfit, it fills with random numbers.

    Args:
        source: the model's, for messages.
        info: what `from_pretrained` says of its loading.
        kind: the model in words (`a BLIP captioner`).

    Raises:
        UserError: it did not.
    """
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{source.key}: '{source.location}' is not {kind}: "
            f"{len(missing)} of the weights of one are not in it, {missing[0]} first"
        )
    if unfit := sorted(info["mismatched_keys"]):
        name, found, wanted = unfit[0]
        raise UserError(
            f"{source.key}: '{source.location}' is not {kind}, or its config.json is another model's: {len(unfit)} of "
            f"its weights are of other sizes, {name} first, which is {_by(found)} and should be {_by(wanted)}"
        )


def check_tokens(source: Source, tokens: int, known: int) -> None:
    """See that the model knows all tokens.

    Args:
        source: the model's, for messages.
        tokens: one more than the highest number that the tokenizer gives.
        known: how many the model's embedding has.

    Raises:
        UserError: it does not.
    """
    if tokens > known:
        raise UserError(
            f"{source.key}: the tokenizer of '{source.location}' has {tokens:,} tokens, and its model knows {known:,}; "
            "take both from one checkpoint"
        )


def count_tokens(tokenizer: Any) -> int:
    """One more than the highest number that a tokenizer of transformers gives."""
    numbers: Iterable[int] = tokenizer.get_vocab().values()
    return 1 + max(numbers)


def count_words(tokenizer: Any) -> int:
    """The same of its words, and of the marks that every text is given, without such as the placeholder of an image."""
    added = tokenizer.get_added_vocab()
    words: list[int] = [number for word, number in tokenizer.get_vocab().items() if word not in added]
    marks: list[int] = tokenizer("")["input_ids"]
    return 1 + max(words + marks)
