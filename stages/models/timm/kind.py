"""What a model of timm is, by the config.json that timm writes."""

from __future__ import annotations

from stages.models.family import Config, Kind, sizes_of


def kind(config: Config) -> Kind:
    """What timm's configuration says; whether it is a transformer shows when it is built."""
    given = config.get("pretrained_cfg", {}).get("input_size")
    size = {"image_size": given[-1]} if isinstance(given, list) and given else {}
    return Kind(
        f"an image model of timm ({config['architecture']})",
        {"tower": "stages.models.timm.tower:load_tower"},
        size | sizes_of(config, {"width": "num_features"}),
        {"ranker": "which reads no text", "filter": "which reads no text", "captioner": "which writes no text"},
    )
