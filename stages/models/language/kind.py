"""What a language model is, by its config.json."""

from __future__ import annotations

import re
from typing import Final

from stages.models.family import Config, Kind, sizes_of

_DECODER: Final = re.compile(r"\w+(?:ForCausalLM|LMHeadModel)")
"""How transformers calls language models that go on from a text."""
T5_LIKE: Final = frozenset({"t5", "mt5", "umt5"})
"""The `model_type` of those that read a text and write another one."""
_SIZES: Final = {"vocabulary": "vocab_size"}


def kind(config: Config) -> Kind | None:
    """What it says; None where it is no language model of text alone."""
    model_type, classes = str(config.get("model_type", "")), config.get("architectures") or []
    if model_type in T5_LIKE:
        loader = "stages.models.language.prefix:load_prefix"
        return Kind(f"a language model that reads and writes ({model_type})", {"llm": loader}, sizes_of(config, _SIZES))
    if classes and _DECODER.fullmatch(classes[0]) and not config.get("is_encoder_decoder"):
        loader = "stages.models.language.decoder:load_decoder"
        return Kind(f"a language model ({classes[0]})", {"llm": loader}, sizes_of(config, _SIZES))
    return None
