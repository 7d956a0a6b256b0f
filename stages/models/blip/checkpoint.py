"""The public checkpoint format of BLIP, and of BLIP-2's first stage.

One model class, the BERT tokenizer and the image processor come from the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor
from transformers import BertTokenizer, BlipImageProcessor, BlipTextConfig, PreTrainedModel

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.blip.reading import load_class
from stages.models.device import torch_dtype
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.parts import check_pictures, check_tokens, check_weights, count_tokens, count_words
from stages.models.preparation import preparation
from stages.models.source import Source

Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True)
class Blip(Generic[Model]):
    """A loaded checkpoint, ready for inference."""

    model: Model
    tokenizer: BertTokenizer
    processor: Any

    @property
    def preprocess(self) -> Callable[[Image.Image], Tensor]:
        """An RGB image to pixels, (3, height, width), float32."""
        return preparation(self.processor)

    @property
    def text_config(self) -> BlipTextConfig:
        """Token ids and sizes of the text half."""
        config = self.model.config.text_config
        assert isinstance(config, BlipTextConfig)
        return config

    @property
    def vocabulary(self) -> int:
        """How many tokens the text half knows; in BLIP-2 that is the Q-Former."""
        config: Any = self.model.config
        size: int = getattr(config, "qformer_config", config.text_config).vocab_size
        return size


def load_blip(  # noqa: PLR0913, PLR0917 - what is loaded, and how
    model_class: type[Model],
    source: Source,
    kind: str,
    dtype: Dtype,
    device: torch.device,
    processor_class: Any = BlipImageProcessor,
) -> Blip[Model]:
    """Load a checkpoint.

    Args:
        model_class: the transformers class that is wanted.
        source: hub name or folder.
        kind: the class in words (`a BLIP captioner`), for messages.
        dtype: what the model computes in.
        device: where it computes.
        processor_class: what prepares images; transformers' `AutoImageProcessor` for the folder's own.

    Raises:
        UserError: there is no such model, or it is broken or of another kind.
    """
    place, revision = source.location, source.revision or "main"
    try:
        with quiet():
            model, info = load_class(model_class, source, torch_dtype(dtype))
            tokenizer = BertTokenizer.from_pretrained(place, revision=revision)
            processor = processor_class.from_pretrained(place, revision=revision)
    except LOADING_ERRORS as error:
        raise source.error(kind, error) from None
    check_weights(source, info, kind)
    if len(tokenizer) < 10:  # transformers makes an empty tokenizer of a folder that has none
        raise UserError(f"{source.key}: '{source.location}' has no tokenizer files (tokenizer.json or vocab.txt)")
    blip = Blip(model, tokenizer, processor)  # from_pretrained has switched dropout off
    _check_parts(blip, source)
    model.to(device)
    return blip


def _check_parts(blip: Blip[Model], source: Source) -> None:
    """See that processor, tokenizer and model fit one another."""
    vision = blip.model.config.vision_config
    if vision.patch_size > vision.image_size:
        raise UserError(
            f"{source.key}: '{source.location}' cuts images of {vision.image_size} pixels into patches of "
            f"{vision.patch_size}; correct vision_config in its config.json"
        )
    check_pictures(source, blip.preprocess, (vision.image_size, vision.image_size))
    # BLIP-2's processor may add a placeholder for images, which no text has
    count = count_words if hasattr(blip.model.config, "qformer_config") else count_tokens
    check_tokens(source, count(blip.tokenizer), blip.vocabulary)
