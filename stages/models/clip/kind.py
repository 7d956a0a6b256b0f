"""What a model of open_clip is, by its configuration (`model_cfg`)."""

from __future__ import annotations

from typing import Final

from stages.models.family import Config, Kind, Role, sizes_of
from stages.models.vision.kind import NO_TOKENS, is_transformer

_COSINE: Final[dict[Role, str]] = {
    "ranker": "stages.models.clip.loading:load_clip",
    "encoder": "stages.models.clip.loading:load_clip",
}
_PROBABILITY: Final[dict[Role, str]] = {"filter": "stages.models.clip.loading:load_probability"}
_TOWER: Final[dict[Role, str]] = {"tower": "stages.models.clip.tower:load_tower"}
NO_PROBABILITY: Final = "whose cosine is no probability (`rank` takes it)"


def kind(config: Config) -> Kind:
    """What a configuration says: SigLIP's loss leaves a bias, by which a cosine becomes a probability."""
    vision, text = config.get("vision_cfg") or {}, config.get("text_cfg") or {}
    has_bias = config.get("init_logit_bias") is not None
    other = _other_tower(vision)
    words = "a SigLIP model of open_clip" if has_bias else "a CLIP model of open_clip"
    sizes = sizes_of(
        vision, {"image_size": "image_size", "patch_size": "patch_size", "width": "width", "layers": "layers"}
    )
    because: dict[Role, str] = {} if has_bias else {"filter": NO_PROBABILITY}
    if other is not None:
        because["tower"] = f"whose image tower is a {other}, {NO_TOKENS}"
    return Kind(
        words,
        _COSINE | (_PROBABILITY if has_bias else {}) | (_TOWER if other is None else {}),
        sizes
        | sizes_of(config, {"embedding": "embed_dim"})
        | sizes_of(text, {"vocabulary": "vocab_size", "text_tokens": "context_length"}),
        because,
        takes_weights=True,
    )


def _other_tower(vision: Config) -> str | None:
    """What the image tower is, where it is no transformer."""
    if name := vision.get("timm_model_name"):
        return None if is_transformer(name) else str(name)
    return "ResNet" if isinstance(vision.get("layers"), list) else None
