"""Language models of transformers: weights and tokenizer, from one place, frozen."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.auto.tokenization_auto import AutoTokenizer

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.device import torch_dtype
from stages.models.family import ModelName
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.parts import check_tokens, check_weights, count_words

FEWEST = 10
"""transformers makes a tokenizer with nothing but marks of a folder that has none."""


def load_parts(name: ModelName, model_class: Any, dtype: Dtype, device: torch.device) -> tuple[Any, Any]:
    """A language model, without gradients of its own and without dropout, and its tokenizer.

    Args:
        name: which.
        model_class: a class of transformers.
        dtype: of its weights, in which it computes.
        device: where it computes.

    Raises:
        UserError: there is no such model, or it is broken, or tokenizer and model do not fit.
    """
    source, words = name.source(), "a language model"
    place, revision = source.location, source.revision or "main"
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                place, revision=revision, dtype=torch_dtype(dtype), output_loading_info=True
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(place, revision=revision)
    except LOADING_ERRORS as error:
        raise source.error(words, error) from None
    check_weights(source, info, words)
    if len(tokenizer) < FEWEST:
        raise UserError(f"{name.key}: '{name.model}' has no tokenizer files (tokenizer.json or vocab.json)")
    check_tokens(source, count_words(tokenizer), model.get_input_embeddings().num_embeddings)
    return model.eval().requires_grad_(requires_grad=False).to(device), tokenizer


def positions_of(model: Any) -> int | None:
    """How many tokens it can read, where that is written down."""
    found = getattr(model.config, "max_position_embeddings", None)
    return found if isinstance(found, int) else None
