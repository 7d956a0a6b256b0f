"""transformers' own CLIP and SigLIP, computed by transformers."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.auto.modeling_auto import AutoModel
from transformers.models.auto.tokenization_auto import AutoTokenizer

from stages.contract import Dtype
from stages.models.device import torch_dtype
from stages.models.embedding import EmbeddingScorer, Encoders, sigmoid_of
from stages.models.family import ModelName
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.parts import check_pictures, check_tokens, check_weights, count_words
from stages.models.preparation import preparation

KIND: Final = "a CLIP or SigLIP model of transformers"


def load_cosine(name: ModelName, dtype: Dtype, device: torch.device) -> EmbeddingScorer:
    """Load a model that scores by its cosine.

    Raises:
        UserError: there is no such model, or it is broken.
    """
    model, encoders = _load(name)
    model.to(device, torch_dtype(dtype))
    return EmbeddingScorer(encoders)


def load_probability(name: ModelName, dtype: Dtype, device: torch.device) -> EmbeddingScorer:
    """Load a SigLIP, which scores by the probability that its loss gives a pair.

    Raises:
        UserError: there is no such model, or it is broken.
    """
    model, encoders = _load(name)
    scale, bias = (value.detach().to(device, torch.float32) for value in (model.logit_scale.exp(), model.logit_bias))
    model.to(device, torch_dtype(dtype))
    return EmbeddingScorer(encoders, sigmoid_of(scale, bias))


def _load(name: ModelName) -> tuple[Any, Encoders]:
    """The model in float32, and its towers, which go where it goes."""
    source = name.source()
    place, revision = source.location, source.revision or "main"
    try:
        with quiet():
            model, info = AutoModel.from_pretrained(
                place, revision=revision, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
            )
            tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
            processor = AutoImageProcessor.from_pretrained(place, revision=revision)
    except LOADING_ERRORS as error:
        raise source.error(KIND, error) from None
    check_weights(source, info, KIND)
    prepare, size = preparation(processor), model.config.vision_config.image_size
    check_pictures(source, prepare, (size, size))
    check_tokens(source, count_words(tokenizer), model.config.text_config.vocab_size)
    return model, Encoders(prepare, _image_encoder(model), _text_encoder(model, tokenizer))


def _image_encoder(model: Any) -> Any:
    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = model.get_image_features(pixels.to(model.device, model.dtype)).pooler_output
        return features

    return encode


def _text_encoder(model: Any, tokenizer: Any) -> Any:
    length = model.config.text_config.max_position_embeddings

    def encode(texts: list[str]) -> Tensor:
        """All texts are padded to the model's length, which SigLIP was trained with; CLIP looks at no padding."""
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        features: Tensor = model.get_text_features(ids["input_ids"].to(model.device)).pooler_output
        return features

    return encode
