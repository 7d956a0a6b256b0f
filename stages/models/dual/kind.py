"""What transformers' own CLIP and SigLIP are, by their config.json."""

from __future__ import annotations

from typing import Final

from stages.models.clip.kind import NO_PROBABILITY
from stages.models.family import Config, Kind, Role, sizes_of, vision_sizes

_COSINE: Final[dict[Role, str]] = {
    "ranker": "stages.models.dual.loading:load_cosine",
    "encoder": "stages.models.dual.loading:load_cosine",
}
_PROBABILITY: Final[dict[Role, str]] = {"filter": "stages.models.dual.loading:load_probability"}
_OPENAI: Final = {
    (768, 32, 224): "ViT-B-32-quickgelu",
    (768, 16, 224): "ViT-B-16-quickgelu",
    (1024, 14, 224): "ViT-L-14-quickgelu",
    (1024, 14, 336): "ViT-L-14-336-quickgelu",
}
"""What open_clip calls OpenAI's sizes: width, patch size, image size."""


def clip(config: Config) -> Kind:
    """What a `CLIPConfig` says."""
    sizes = _sizes(config)
    of_openai = _OPENAI.get((sizes.get("width", 0), sizes.get("patch_size", 0), sizes.get("image_size", 0)))
    tower = f"for OpenAI's weights say '{of_openai or 'ViT-L-14-quickgelu'}', pretrained: openai"
    return Kind("transformers' CLIP", _COSINE, sizes, because={"filter": NO_PROBABILITY}, instead={"tower": tower})


def siglip(config: Config) -> Kind:
    """What a `SiglipConfig` says, of SigLIP and of SigLIP 2 at a fixed size."""
    tower = "say open_clip's name of it, such as 'ViT-B-16-SigLIP', pretrained: webli"
    return Kind("transformers' SigLIP", _COSINE | _PROBABILITY, _sizes(config), instead={"tower": tower})


def _sizes(config: Config) -> dict[str, int]:
    return vision_sizes(config) | sizes_of(config.get("text_config") or {}, {"text_tokens": "max_position_embeddings"})
