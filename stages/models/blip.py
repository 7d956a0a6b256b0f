"""BLIP's public checkpoint format: one model class, the BERT tokenizer and the image processor from the same place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from PIL import Image
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipImageProcessor, BlipTextConfig, PreTrainedModel

from stages.errors import UserError
from stages.models.loading import LOADING_ERRORS, Source, quiet
from stages.models.middle import middle

Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True)
class Blip(Generic[Model]):
    """A loaded checkpoint, ready for inference."""

    model: Model
    tokenizer: BertTokenizer
    processor: BlipImageProcessor

    @property
    def preprocess(self) -> Callable[[Image.Image], Tensor]:
        """An RGB image to pixels, (3, height, width), float32: resized to a square, CLIP's mean and deviation.

        It holds on to the processor alone, so that who keeps it does not keep the loaded model in memory.
        """
        processor, size = self.processor, cast("Any", self.processor.size)
        scales_shorter = size.shortest_edge is not None

        def prepare(image: Image.Image) -> Tensor:
            shown = middle(image) if scales_shorter else image
            pixels: Tensor = processor(shown, return_tensors="pt")["pixel_values"][0]
            return pixels

        return prepare

    @property
    def text_config(self) -> BlipTextConfig:
        """Token ids and sizes of the text half."""
        config = self.model.config.text_config
        assert isinstance(config, BlipTextConfig)
        return config


def load_blip(
    model_class: type[Model], source: Source, *, kind: str, dtype: torch.dtype, device: torch.device
) -> Blip[Model]:
    """Load a BLIP checkpoint.

    Args:
        model_class: the transformers class that is wanted.
        source: hub name or folder.
        kind: the class in words (`a BLIP captioner`), for messages.
        dtype: what the model computes in.
        device: where it computes.

    Raises:
        UserError: there is no such model, or it is broken or of another kind.
    """
    place, revision = source.location, source.revision or "main"
    try:
        with quiet():
            model, missing = _load_model(model_class, place, revision, dtype)
            tokenizer = BertTokenizer.from_pretrained(place, revision=revision)
            processor = BlipImageProcessor.from_pretrained(place, revision=revision)
    except LOADING_ERRORS as error:
        raise source.error(kind, error) from None
    if missing:
        raise UserError(
            f"{source.key}: '{source.location}' is not {kind}: "
            f"{len(missing)} of the weights of one are not in it, {missing[0]} first"
        )
    if len(tokenizer) < 10:  # transformers makes an empty tokenizer of a folder that has none
        raise UserError(f"{source.key}: '{source.location}' has no tokenizer files (tokenizer.json or vocab.txt)")
    model.to(device)  # type: ignore[arg-type]  # transformers wraps `to` in a way that hides its type
    return Blip(model, tokenizer, processor)  # from_pretrained has switched dropout off


def _load_model(model_class: type[Model], place: str, revision: str, dtype: torch.dtype) -> tuple[Model, list[str]]:
    """The model, and the names of its weights that were not there: transformers fills those with random numbers."""
    config = BlipConfig.from_pretrained(place, revision=revision)  # of its own, for its clear words on a missing file
    loaded: Any = model_class.from_pretrained(
        place, config=config, revision=revision, dtype=dtype, output_loading_info=True
    )
    model, info = loaded
    return model, sorted(info["missing_keys"])
