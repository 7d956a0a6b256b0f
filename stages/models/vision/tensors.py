"""The tensors that a tower's first blocks depend on, and how to tell people of those that another program lacks."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

_BLOCK = re.compile(r"(?:transformer\.resblocks|blocks)\.(\d+)\.")
_BEHIND = re.compile(r"(?:ln_post|proj|attn_pool|attn_pool_contrastive|norm|fc_norm|head)(?:\.|$)")
"""What follows the blocks, in open_clip's own towers and in timm's."""
_WORDS = (
    (r"reg_token", "register tokens"),
    (r"ls_?[12]\.gamma|gamma_[12]", "LayerScale"),
    (r"ln_pre\.|norm_pre\.", "a norm before its blocks"),
    (r"class_embedding|cls_token", "a class token"),
    (r"positional_embedding|pos_embed", "positions of its own"),
    (r"\.(?:q_norm|k_norm|ln_q|ln_k)\.", "norms of queries and keys"),
    (r"\.(?:ln_attn|ln_inner|head_scale|logit_scale)|\.attn\.norm\.", "scales or norms in its attention"),
    (r"\.mlp\.(?:ln|norm)\.", "norms in its feed-forward"),
    (r"\.mlp\.(?:fc1_g|w12|w1|w2|w3)", "a gated feed-forward"),
    (r"\.attn\.qkv\.bias", "one bias for queries, keys and values"),
    (r"\.attn\.[qv]_bias", "biases of queries and of values"),
)
"""What people call a tensor of such a name."""


def tensors_of(visual: Any, blocks: int) -> Mapping[str, Tensor]:
    """The tensors of a tower's first blocks, and of all that precedes them, under the tower's own names.

    Args:
        visual: open_clip's own tower, or one of timm's.
        blocks: how many are kept.
    """
    own = visual if hasattr(visual, "transformer") else visual.trunk
    return {name: value for name, value in own.state_dict().items() if _precedes(name, blocks)}


def _precedes(name: str, blocks: int) -> bool:
    block = _BLOCK.match(name)
    return int(block[1]) < blocks if block else not _BEHIND.match(name)


def in_words(names: Collection[str]) -> str:
    """What tensors are for, the name of one of them behind it: `register tokens (reg_token)`."""
    found: dict[str, str] = {}
    for name in names:
        words = next((words for pattern, words in _WORDS if re.search(pattern, name)), "a part of another kind")
        found.setdefault(words, name.removesuffix(".weight").removesuffix(".bias"))
    return ", ".join(f"{words} ({name})" for words, name in found.items())
