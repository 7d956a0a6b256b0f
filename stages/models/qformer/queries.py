"""The Q-Former as BLIP-2's second stage has it: queries that look at an image, and nothing that reads text.

Li et al. 2023 (arXiv 2301.12597), section 3.2. Its parameters have the names that they have in the first stage.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from stages.models.qformer.model import QFormer, QFormerConfig

_TEXT = (
    "words",
    "positions",
    "image_projection",
    "text_projection",
    "match_head",
    "word_transform",
    "word_norm",
    "word_bias",
    "temperature",
)
"""What reads, compares and writes texts."""
_TEXT_OF_LAYER = "text_feed_forward"


def query_path(config: QFormerConfig) -> QFormer:
    """A Q-Former that is drawn, without what concerns texts; of its passes it has `look` and `encode_image`."""
    qformer = QFormer(config)
    for name in _TEXT:
        delattr(qformer, name)
    for layer in qformer.layers:
        delattr(layer, _TEXT_OF_LAYER)
    return qformer


def of_queries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a first stage gives to a second one."""
    return {
        name: value
        for name, value in state.items()
        if name.split(".", 1)[0] not in _TEXT and f".{_TEXT_OF_LAYER}." not in name
    }
