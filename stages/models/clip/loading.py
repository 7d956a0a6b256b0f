"""Models of open_clip, loaded: CLIP, SigLIP, EVA-CLIP and whatever else its one interface holds."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.clip.towers import ImageTower, TextTower
from stages.models.clip.weights import KIND, Place, locate
from stages.models.device import torch_dtype
from stages.models.embedding import EmbeddingScorer, Encoders, sigmoid_of
from stages.models.family import ModelName
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.middle import safe
from stages.models.parts import check_pictures, check_tokens, count_words
from stages.models.source import Source, why

_PRECISIONS: Final[dict[Dtype, str]] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_PREPARATION: Final = ("mean", "std", "interpolation", "resize_mode")
"""What a tag of weights may say of how its pictures are prepared."""


@dataclass(frozen=True)
class Opened:
    """A loaded model with what belongs to it."""

    source: Source
    asked: str
    """What open_clip's tokenizer is to be asked for."""
    model: Any
    transform: Callable[[Image.Image], Tensor]
    """An RGB image to pixels, as in evaluation."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that its image tower reads."""
        visual = self.model.visual
        size = visual.image_size if hasattr(visual, "image_size") else visual.preprocess_cfg["size"]
        height, width = size if isinstance(size, tuple | list) else (size, size)
        return height, width


def open_model(name: ModelName, dtype: Dtype, device: torch.device) -> Opened:
    """Load a model to compute in a number format (layer norms stay in float32, as in open_clip) on a device.

    Raises:
        UserError: there is no such model, it is broken, or architecture and weights do not belong together.
    """
    place = locate(name)
    try:
        with quiet():
            model = _build(place, dtype, device)
            weights = place.file or open_clip.download_pretrained(get_pretrained_cfg(place.asked, place.tag))
    except LOADING_ERRORS as error:
        raise place.source.error(KIND, error) from None
    _read_weights(name, model, Path(weights))
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    opened = Opened(place.source, place.asked, model.eval(), transform)
    check_pictures(opened.source, transform, opened.size)
    return opened


def _build(place: Place, dtype: Dtype, device: torch.device) -> Any:
    """The model without its weights.

    How it scales a cosine is kept in float32: of a logarithm the two or three digits of bfloat16 are too few.
    """
    model = open_clip.create_model(
        place.asked,
        place.tag,
        precision=_PRECISIONS[dtype],
        device=device,
        load_weights=False,
        pretrained_image=False,
        pretrained_text=False,
        force_preprocess_cfg=_preparation(place.asked) if place.tag is None else None,
    )
    for scale in (model.logit_scale, model.logit_bias):
        if scale is not None:
            scale.data = scale.data.float()
    return model


def _read_weights(name: ModelName, model: Any, weights: Path) -> None:
    try:
        with quiet():
            open_clip.load_checkpoint(model, str(weights))
    except (*LOADING_ERRORS, EOFError, StopIteration, pickle.UnpicklingError) as error:
        key = name.key if name.pretrained is None else name.weights_key
        raise UserError(f"{key}: '{weights}' cannot be loaded as weights of {name.model} ({_unfit(error)})") from None


def _unfit(error: BaseException) -> str:
    """What torch says of weights that do not fit, without its first line, which says that they do not."""
    head, *rest = str(error).strip().splitlines() or [""]
    return rest[0].strip()[:200] if head.startswith("Error(s) in loading state_dict") and rest else why(error)


def _preparation(architecture: str) -> dict[str, Any] | None:
    """How pictures are prepared for an architecture, where all of its published weights agree.

    Somebody's own weights do not say it, and open_clip's default is CLIP's way, which is not SigLIP's.
    """
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    said = [get_pretrained_cfg(architecture, tag) for tag in tags]
    agreed = [{key: one[key] for key in _PREPARATION if key in one} for one in said]
    return agreed[0] if agreed and all(one == agreed[0] for one in agreed) else None


def load_clip(name: ModelName, dtype: Dtype, device: torch.device) -> EmbeddingScorer:
    """Load a model that scores by its cosine.

    Raises:
        UserError: as `open_model`.
    """
    return EmbeddingScorer(_encoders(open_model(name, dtype, device), dtype, device))


def load_probability(name: ModelName, dtype: Dtype, device: torch.device) -> EmbeddingScorer:
    """Load a SigLIP, which scores by the probability that its loss gives a pair.

    Raises:
        UserError: as `open_model`; or its weights have no bias, as those of a CLIP have none.
    """
    opened = open_model(name, dtype, device)
    scale, bias = opened.model.logit_scale.detach().exp(), opened.model.logit_bias.detach()
    if not bias.any():  # open_clip puts zero where weights have none
        raise UserError(
            f"{name.key}: the weights of '{name.model}' have no bias (logit_bias), without which SigLIP's number is no "
            "probability; name a SigLIP with its own weights, or put it under `rank`"
        )
    return EmbeddingScorer(_encoders(opened, dtype, device), sigmoid_of(scale, bias))


def _encoders(opened: Opened, dtype: Dtype, device: torch.device) -> Encoders:
    return encoders(opened.model, opened.transform, _tokenizer(opened), torch_dtype(dtype), device)


def encoders(
    model: Any,
    transform: Callable[[Image.Image], Tensor],
    tokenize: Callable[[list[str]], Tensor],
    dtype: torch.dtype,
    device: torch.device,
) -> Encoders:
    """A loaded model's two towers: ours where they know the architecture, else open_clip's own."""
    image: Any = ImageTower(model.visual) if ImageTower.fits(model.visual) else model.encode_image
    text: Any = TextTower(model) if TextTower.fits(model) else lambda ids: model.encode_text(ids.to(device))
    return Encoders(
        safe(transform, getattr(model.visual, "preprocess_cfg", {})),
        lambda pixels: image(pixels.to(device, dtype)),
        lambda texts: text(tokenize(texts)),
    )


def _tokenizer(opened: Opened) -> Callable[[list[str]], Tensor]:
    try:
        with quiet():
            tokenize: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(opened.asked)
    except LOADING_ERRORS as error:
        raise UserError(
            f"{opened.source.key}: the tokenizer of '{opened.source.location}' cannot be loaded ({why(error)})"
        ) from None
    if (known := _known_tokens(opened.model)) is not None:
        check_tokens(opened.source, _count_tokens(tokenize), known)
    return tokenize


def _known_tokens(model: Any) -> int | None:
    """How many tokens the text tower's embedding has; None for architectures that keep it elsewhere."""
    embedding = getattr(getattr(model, "text", model), "token_embedding", None)
    return embedding.num_embeddings if isinstance(embedding, nn.Embedding) else None


def _count_tokens(tokenize: Any) -> int:
    if hasattr(tokenize, "tokenizer"):
        return count_words(tokenize.tokenizer)
    vocabulary: int = tokenize.vocab_size  # open_clip's own
    return vocabulary
