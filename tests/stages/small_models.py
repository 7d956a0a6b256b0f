"""Small models with random weights, saved in the public formats, so that tests load what users load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    PreTrainedModel,
)

from stages.models.qformer.model import QFormerConfig

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[DEC]", "[ENC]"]
TEXT = "a picture of the red blue green circle square and on at with one two small large cat dog sits"
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
# [SEP] last: CLIP's pooling takes the token of the highest id.
VOCABULARY = list(dict.fromkeys([*SPECIAL, *TEXT.split(), *LETTERS, *(f"##{letter}" for letter in LETTERS), "[SEP]"]))
ID = {token: number for number, token in enumerate(VOCABULARY)}
IMAGE_SIZE = 32
QFORMER = QFormerConfig(
    vocabulary=60,
    vision_width=24,
    queries=5,
    width=32,
    layers=3,
    heads=4,
    projection=16,
    max_text_tokens=9,
    dropout=0.1,
)


def save_tokenizer(folder: Path) -> None:
    tokenizer = BertTokenizer(vocab=dict(ID), bos_token="[DEC]", additional_special_tokens=["[ENC]"])
    tokenizer.save_pretrained(str(folder))


def blip_config(text_heads: int) -> BlipConfig:
    text = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 48,
        "encoder_hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": text_heads,
        "max_position_embeddings": 40,
        "bos_token_id": ID["[DEC]"],
        "eos_token_id": ID["[SEP]"],
        "sep_token_id": ID["[SEP]"],
        "pad_token_id": ID["[PAD]"],
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
    }
    return BlipConfig(text_config=text, vision_config=vision, projection_dim=16, image_text_hidden_size=16)


def save_captioner(folder: Path, text_heads: int = 12) -> Path:
    return _save_blip(BlipForConditionalGeneration(blip_config(text_heads)), folder)


def save_itm(folder: Path, text_heads: int = 2) -> Path:
    return _save_blip(BlipForImageTextRetrieval(blip_config(text_heads)), folder)


def save_clip(folder: Path, *, quick_gelu: bool = False) -> Path:
    config: dict[str, Any] = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
        "text_cfg": {
            "context_length": 24,
            "vocab_size": len(VOCABULARY),
            "width": 32,
            "heads": 4,
            "layers": 2,
            "hf_tokenizer_name": "local",
        },
    }
    if quick_gelu:
        config["quick_gelu"] = True
    folder.mkdir()
    model = open_clip.CLIP(**config)
    _roughen(model, seed=3)
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, folder / "model.safetensors")
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_tokenizer(folder)
    return folder


def _save_blip(model: PreTrainedModel, folder: Path) -> Path:
    _roughen(model, seed=1)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    BlipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder)
    return folder


def _roughen(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that image and text change the output visibly."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.25, generator=generator)
