"""Which image towers a Q-Former can read: transformers of one width over patches, as timm names them."""

from __future__ import annotations

import re
from typing import Final

_TRANSFORMER: Final = re.compile(r"(?:test_)?(?:vit|eva|beit|deit|flexivit|naflexvit|cait|xcit)")
NO_TOKENS: Final = "without the tokens that a Q-Former reads"


def is_transformer(timm_name: str) -> bool:
    """Whether an architecture of timm is one, by how its name begins."""
    return _TRANSFORMER.match(timm_name) is not None
