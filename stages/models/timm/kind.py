"""What a model of timm is, by the config.json that timm writes; and what to take in place of transformers' DINOv2."""

from __future__ import annotations

from typing import Final

from stages.models.family import Config, Kind, Role, sizes_of
from stages.models.vision.kind import NO_TOKENS, is_transformer

_TOWER: Final[dict[Role, str]] = {"tower": "stages.models.timm.tower:load_tower"}


_NO_TEXT: Final[dict[Role, str]] = {
    "ranker": "which reads no text",
    "filter": "which reads no text",
    "captioner": "which writes no text",
}
_DINOV2: Final = {384: "small", 768: "base", 1024: "large", 1536: "giant"}
"""DINOv2's sizes by their widths."""


def kind(config: Config) -> Kind:
    """What timm's configuration says."""
    architecture = str(config["architecture"])
    given = (config.get("pretrained_cfg") or {}).get("input_size")
    size = {"image_size": given[-1]} if isinstance(given, list) and given else {}
    return Kind(
        f"an image model of timm ({architecture})",
        _TOWER if is_transformer(architecture) else {},
        size | sizes_of(config, {"width": "num_features"}),
        _NO_TEXT | {"tower": NO_TOKENS},
    )


def dinov2(config: Config) -> Kind:
    """What a `Dinov2Config` of transformers says, whose weights timm has too."""
    registers = "_reg4" if config.get("model_type") == "dinov2_with_registers" else ""
    size = _DINOV2.get(config.get("hidden_size", 0), "base")
    return Kind(
        "transformers' DINOv2",
        sizes=sizes_of(config, {"width": "hidden_size", "layers": "num_hidden_layers"}),
        because=_NO_TEXT,
        instead={"tower": f"say timm's name of it, 'timm/vit_{size}_patch14{registers}_dinov2.lvd142m'"},
    )
