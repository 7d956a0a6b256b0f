"""What a model of timm is, by the config.json that timm writes."""

from __future__ import annotations

from typing import Final

from stages.models.family import Config, Kind, Role, sizes_of
from stages.models.vision.kind import NO_TOKENS, is_transformer

_TOWER: Final[dict[Role, str]] = {"tower": "stages.models.timm.tower:load_tower"}


def kind(config: Config) -> Kind:
    """What timm's configuration says."""
    architecture = str(config["architecture"])
    given = (config.get("pretrained_cfg") or {}).get("input_size")
    size = {"image_size": given[-1]} if isinstance(given, list) and given else {}
    because: dict[Role, str] = {"ranker": "which reads no text", "filter": "which reads no text"}
    return Kind(
        f"an image model of timm ({architecture})",
        _TOWER if is_transformer(architecture) else {},
        size | sizes_of(config, {"width": "num_features"}),
        because | {"captioner": "which writes no text", "tower": NO_TOKENS},
    )
