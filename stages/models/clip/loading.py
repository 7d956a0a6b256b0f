"""CLIP by open_clip: a built-in architecture with a tag of weights, a hub name, or a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import snapshot_download
from open_clip.pretrained import get_pretrained_cfg
from torch import nn

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.clip.scorer import ClipScorer
from stages.models.device import torch_dtype
from stages.models.loading import LOADING_ERRORS, Source, find_source, quiet
from stages.models.parts import check_pictures, check_tokens

_PRECISIONS: dict[Dtype, str] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_KIND = "a CLIP model of open_clip"
_SMALL_FILES = ["*.json", "*.txt", "*.model"]
_SAFE_WEIGHTS, _OLD_WEIGHTS = "open_clip_*.safetensors", "open_clip_*.bin"


@dataclass(frozen=True)
class ClipName:
    """How a manifest names a CLIP model."""

    key: str
    """The manifest key that names the model (`rank.model`), for messages."""
    model: str
    """An architecture of open_clip (`ViT-L-14-quickgelu`), a hub name, or a local folder."""
    pretrained: str | None
    """The tag of weights, for an architecture only."""
    revision: str | None
    """The hub commit, for a hub name only."""


def load_clip(name: ClipName, dtype: Dtype, device: torch.device) -> ClipScorer:
    """Load a CLIP model to compute in a number format (layer norms stay in float32, as in open_clip) on a device.

    Raises:
        UserError: there is no such model, it is broken, or architecture and weights do not belong together.
    """
    source, found = locate(name)
    try:
        with quiet():
            model, transform = open_clip.create_model_from_pretrained(
                found, name.pretrained, precision=_PRECISIONS[dtype]
            )
            tokenize = open_clip.get_tokenizer(found)
    except LOADING_ERRORS as error:
        raise source.error(_KIND, error) from None
    check_pictures(source, transform, image_size(model.visual))
    if (known := _known_tokens(model)) is not None:
        check_tokens(source, _count_tokens(tokenize), known)
    return ClipScorer(model.eval().to(device), transform, tokenize, device, torch_dtype(dtype))


def image_size(visual: Any) -> tuple[int, int]:
    """Height and width in pixels that a loaded tower reads."""
    size = visual.image_size if hasattr(visual, "image_size") else visual.preprocess_cfg["size"]
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return height, width


def _known_tokens(model: Any) -> int | None:
    """How many tokens the text tower's embedding has; None for architectures that keep it elsewhere."""
    embedding = getattr(getattr(model, "text", model), "token_embedding", None)
    return embedding.num_embeddings if isinstance(embedding, nn.Embedding) else None


def _count_tokens(tokenize: Any) -> int:
    """One more than the highest number of a word, or of a mark that a text is given; other marks never occur."""
    numbers = [int(tokenize([""]).max())]
    if hasattr(tokenize, "tokenizer"):
        added = tokenize.tokenizer.get_added_vocab()
        numbers += [number for word, number in tokenize.tokenizer.get_vocab().items() if word not in added]
    else:  # open_clip's own
        numbers.append(tokenize.vocab_size - 1)
    return 1 + max(numbers)


def locate(name: ClipName) -> tuple[Source, str]:
    """Find a model, downloading a hub model: where it comes from, and what open_clip is to be asked for.

    Raises:
        UserError: there is no such model, or architecture and weights do not belong together.
    """
    if name.model in open_clip.list_models() and not Path(name.model).is_dir():
        check_tag(name.model, name.pretrained, name.revision, name.key)
        return Source(name.key, name.model, None, is_folder=False), name.model
    if name.pretrained is not None:
        raise UserError(
            f"{_beside(name.key, 'pretrained')}: '{name.pretrained}' names weights of an open_clip architecture, but "
            f"{name.key} '{name.model}' is none; leave it out, or name an architecture such as 'ViT-L-14-quickgelu'"
        )
    source = find_source(name.model, name.revision, name.key)
    return source, f"local-dir:{source.location if source.is_folder else _download(source)}"


def check_tag(model: str, pretrained: str | None, revision: str | None, key: str) -> None:
    """Check that a built-in architecture and a tag of weights belong together.

    open_clip builds `ViT-L-14` with plain GELU even for OpenAI's weights, which were trained with QuickGELU, and only
    warns: every score would be a little wrong.

    Raises:
        UserError: no or an unknown tag, a revision, or another activation than the weights were trained with.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        known = ", ".join(tags) or "none that open_clip knows"
        raise UserError(f"{_beside(key, 'pretrained')}: found {pretrained!r}; the weights of {model} are: {known}")
    if revision is not None:
        raise UserError(f"{_beside(key, 'revision')}: the weights of {model} are named by `pretrained`; leave it out")
    trained_quick = get_pretrained_cfg(model, pretrained).get("quick_gelu", False)
    built_quick = open_clip.get_model_config(model).get("quick_gelu", False)
    if trained_quick != built_quick:
        right = f"{model}-quickgelu" if trained_quick else model.removesuffix("-quickgelu")
        activation = "QuickGELU" if trained_quick else "plain GELU"
        raise UserError(f"{key}: the weights '{pretrained}' were trained with {activation}; name '{right}'")


def _download(source: Source) -> str:
    """Bring a hub model into the cache at its revision, which open_clip's own `hf-hub:` cannot pin; its folder."""
    try:
        with quiet():
            for weights in (_SAFE_WEIGHTS, _OLD_WEIGHTS):
                patterns = [*_SMALL_FILES, weights]
                folder: str = snapshot_download(source.location, revision=source.revision, allow_patterns=patterns)
                if any(Path(folder).glob(weights)):
                    break
    except LOADING_ERRORS as error:
        raise source.error(_KIND, error) from None
    return folder


def _beside(key: str, field: str) -> str:
    """The key of another field of the same section."""
    return f"{key.rsplit('.', 1)[0]}.{field}"
