"""A trained BLIP as a folder that transformers loads, and the next step of a manifest."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertTokenizer, BlipConfig, BlipImageProcessor, BlipProcessor

from stages.models.blip.description import LABEL_SMOOTHING, Description
from stages.models.blip.names import (
    QUESTIONS,
    State,
    classes_of,
    places,
    to_transformers,
    with_ties,
    without_position_ids,
    without_ties,
)
from stages.models.loading import quiet
from stages.models.parts import count_tokens

REST_FILE: Final = "blip.safetensors"
"""Beside the weights of a class of transformers: what it has no place for, under the published names. That is what
training goes on with (slow copies, queues, the temperature), and of a model that is two classes the second's own."""


def write_folder(state: State, description: Description, tokenizer: BertTokenizer, folder: Path) -> None:
    """Write weights, configuration, tokenizer and image processor.

    `architectures` in config.json names every class that the model is. transformers loads the first from the folder;
    the second shares its weights and is loaded by this package alone, or from a folder of its own (`names.only`).

    Args:
        state: weights under published names, ties under any of theirs.
        description: what they are of.
        tokenizer: from `load_blip_tokenizer`.
        folder: where; it is made if it is not there.
    """
    assert count_tokens(tokenizer) <= description.text.vocabulary, "the tokenizer is another model's"
    whole = with_ties(without_position_ids(state))
    classes = classes_of(whole)
    first = next((name for name in classes[:1] if _fits(name, description)), None)
    folder.mkdir(parents=True, exist_ok=True)
    config = to_config(description, tokenizer)
    with quiet():
        _write_parts(description, tokenizer, folder)
        if first is not None:
            _write_weights(first, config, whole, folder)
        config.architectures = classes
        config.save_pretrained(folder)
    taken = places(whole, first) if first is not None else {}
    rest = {name: value.contiguous() for name, value in without_ties(whole).items() if name not in taken}
    if rest:
        save_file(rest, folder / REST_FILE, {"format": "pt"})


def to_config(description: Description, tokenizer: BertTokenizer) -> BlipConfig:
    """The description as transformers has it; every number is said that its defaults would set otherwise."""
    vision, text = description.vision, description.text
    tower = {
        "hidden_size": vision.width,
        "intermediate_size": vision.inner,
        "projection_dim": description.projection,
        "num_hidden_layers": vision.layers,
        "num_attention_heads": vision.heads,
        "image_size": vision.image_size,
        "patch_size": vision.patch,
        "layer_norm_eps": vision.epsilon,
        "initializer_range": 0.02,
    }
    stack = {
        "vocab_size": text.vocabulary,
        "hidden_size": text.width,
        "intermediate_size": text.inner,
        "projection_dim": description.projection,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "max_position_embeddings": text.positions,
        "layer_norm_eps": text.epsilon,
        "hidden_dropout_prob": text.dropout,
        "attention_probs_dropout_prob": text.dropout,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "label_smoothing": LABEL_SMOOTHING,
    }
    return BlipConfig(
        text_config=stack,
        vision_config=tower,
        projection_dim=description.projection,
        image_text_hidden_size=description.projection,
        label_smoothing=LABEL_SMOOTHING,
    )


def _fits(name: str, description: Description) -> bool:
    """Whether transformers' class has a place for all weights of its parts.

    Its decoder of answers looks at questions as wide as images.
    """
    return name != QUESTIONS or description.text.source_width == description.vision.width


def _write_weights(name: str, config: BlipConfig, whole: State, folder: Path) -> None:
    model_class: Any = getattr(transformers, name)
    with torch.device("meta"):
        model = model_class(config)
    model.load_state_dict(to_transformers(whole, name), assign=True)
    model.tie_weights()
    model.save_pretrained(folder)


def _write_parts(description: Description, tokenizer: BertTokenizer, folder: Path) -> None:
    vision, text = description.vision, description.text
    size = {"height": vision.image_size, "width": vision.image_size}
    pixels = BlipImageProcessor(size=size, image_mean=list(vision.mean), image_std=list(vision.std))
    own = deepcopy(tokenizer)
    own.model_max_length = text.positions
    BlipProcessor(pixels, own).save_pretrained(folder)  # type: ignore[no-untyped-call]
    # twice, under the names that transformers before version 5 looks for
    pixels.save_pretrained(folder)
    vocabulary = own.get_vocab()
    words = "".join(f"{word}\n" for word in sorted(vocabulary, key=vocabulary.__getitem__))
    (folder / "vocab.txt").write_text(words, encoding="utf-8")
