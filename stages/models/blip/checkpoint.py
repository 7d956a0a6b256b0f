"""BLIP's public checkpoint format: one model class, the BERT tokenizer and the image processor from the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from PIL import Image
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipImageProcessor, BlipTextConfig, PreTrainedModel

from stages.errors import UserError
from stages.models.loading import LOADING_ERRORS, Source, quiet
from stages.models.middle import middle
from stages.models.parts import check_pictures, check_tokens, count_tokens

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
            model, info = _load_model(model_class, place, revision, dtype)
            tokenizer = BertTokenizer.from_pretrained(place, revision=revision)
            processor = BlipImageProcessor.from_pretrained(place, revision=revision)
    except LOADING_ERRORS as error:
        raise source.error(kind, error) from None
    _check_weights(info, source, kind)
    if len(tokenizer) < 10:  # transformers makes an empty tokenizer of a folder that has none
        raise UserError(f"{source.key}: '{source.location}' has no tokenizer files (tokenizer.json or vocab.txt)")
    blip = Blip(model, tokenizer, processor)  # from_pretrained has switched dropout off
    _check_parts(blip, source)
    model.to(device)  # type: ignore[arg-type]  # transformers wraps `to` in a way that hides its type
    return blip


def _load_model(
    model_class: type[Model], place: str, revision: str, dtype: torch.dtype
) -> tuple[Model, dict[str, Any]]:
    """The model, and what transformers says of its weights: it fills with random numbers what is not there or unfit."""
    config = BlipConfig.from_pretrained(place, revision=revision)  # of its own, for its clear words on a missing file
    loaded: tuple[Model, dict[str, Any]] = model_class.from_pretrained(  # type: ignore[assignment]
        place,
        config=config,
        revision=revision,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    return loaded


def _check_weights(info: dict[str, Any], source: Source, kind: str) -> None:
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{source.key}: '{source.location}' is not {kind}: "
            f"{len(missing)} of the weights of one are not in it, {missing[0]} first"
        )
    if unfit := sorted(info["mismatched_keys"]):
        name, found, wanted = unfit[0]
        raise UserError(
            f"{source.key}: '{source.location}' is not {kind}, or its config.json is another model's: {len(unfit)} of "
            f"its weights are of other sizes, {name} first, which is {_shape(found)} and should be {_shape(wanted)}"
        )


def _shape(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def _check_parts(blip: Blip[Model], source: Source) -> None:
    """See that processor, tokenizer and model fit one another."""
    vision = blip.model.config.vision_config
    if vision.patch_size > vision.image_size:
        raise UserError(
            f"{source.key}: '{source.location}' cuts images of {vision.image_size} pixels into patches of "
            f"{vision.patch_size}; correct vision_config in its config.json"
        )
    check_pictures(source, blip.preprocess, (vision.image_size, vision.image_size))
    check_tokens(source, count_tokens(blip.tokenizer), blip.text_config.vocab_size)
