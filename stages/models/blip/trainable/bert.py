"""BERT as BLIP's text stacks begin with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import BertForMaskedLM

from stages.errors import UserError
from stages.models.blip.trainable.config import TextConfig
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.source import find_source


@dataclass(frozen=True)
class Bert:
    """Its weights under transformers' names, and its sizes."""

    state: Mapping[str, Tensor]
    config: TextConfig


def read_bert(name: str, revision: str | None, key: str) -> Bert:
    """Read BERT from a hub name or a folder.

    Raises:
        UserError: there is no such model, or it is no BERT.
    """
    source = find_source(name, revision, key)
    try:
        with quiet():
            loaded: Any = BertForMaskedLM.from_pretrained(
                source.location, revision=source.revision or "main", output_loading_info=True
            )
    except LOADING_ERRORS as error:
        raise source.error("BERT", error) from None
    model, info = loaded
    config, state = model.config, model.state_dict()
    missing = {found.removeprefix("bert.") for found in info["missing_keys"]}
    if config.model_type != "bert" or any(".layer." in found for found in missing):
        raise UserError(f"{key}: '{name}' is no BERT but a model of type '{config.model_type}'; name a BERT")
    sizes = TextConfig(
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        inner=config.intermediate_size,
        positions=config.max_position_embeddings,
    )
    return Bert({found: value for found, value in state.items() if found.removeprefix("bert.") not in missing}, sizes)
