"""The sizes of a BLIP-2's Q-Former, as transformers' configuration says them."""

from __future__ import annotations

from typing import Any

from stages.errors import UserError
from stages.models.qformer.layers import BERT_EPSILON
from stages.models.qformer.model import QFormerConfig
from stages.models.source import Source


def sizes_of_config(whole: Any, source: Source) -> tuple[QFormerConfig, int]:
    """Those of the Q-Former, and the width of the language model.

    Raises:
        UserError: it computes something else than a Q-Former of BLIP-2.
    """
    config = whole.qformer_config
    if (config.hidden_act, config.layer_norm_eps) != ("gelu", BERT_EPSILON):
        found = f"hidden_act {config.hidden_act}, layer_norm_eps {config.layer_norm_eps}"
        raise UserError(f"{source.key}: the Q-Former of '{source.location}' is not BLIP-2's: {found}")
    sizes = QFormerConfig(
        vocabulary=1,
        vision_width=whole.vision_config.hidden_size,
        queries=whole.num_query_tokens,
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        image_every=config.cross_attention_frequency,
        inner=config.intermediate_size,
    )
    return sizes, whole.text_config.hidden_size
