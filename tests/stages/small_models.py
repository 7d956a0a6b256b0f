"""Small models with random weights, saved in the public formats, so that tests load what users load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForImageTextRetrieval,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
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
    roughen(model, seed=3)
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, folder / "model.safetensors")
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_tokenizer(folder)
    return folder


def _save_blip(model: PreTrainedModel, folder: Path) -> Path:
    roughen(model, seed=1)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    BlipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder)
    return folder


def roughen(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that image and text change the output visibly, and the same ones every time."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 or parameter.unique().numel() > 1:  # norms and biases begin as ones and zeros
                parameter.normal_(std=0.25, generator=generator)


def save_open_clip(folder: Path, vision: dict[str, Any], **more: Any) -> torch.nn.Module:
    """A model of open_clip with a text tower of its own (`CustomTextCLIP`), as a folder; the model itself."""
    text = {"context_length": 24, "vocab_size": len(VOCABULARY), "width": 32, "heads": 4, "layers": 2}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text | {"hf_tokenizer_name": "local"}} | more
    folder.mkdir()
    model = open_clip.CustomTextCLIP(**config)
    roughen(model, seed=4)
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, folder / "model.safetensors")
    document = {"model_cfg": config | {"custom_text": True}, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    save_tokenizer(folder)
    return model.eval()


def save_siglip(folder: Path) -> torch.nn.Module:
    """As open_clip's SigLIP, but for its size: no class token, attention that pools, a bias."""
    vision = {"image_size": IMAGE_SIZE, "timm_model_name": "vit_siglip_of_a_test", "timm_pool": "map"}
    text = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "context_length": 16}
    return save_open_clip(
        folder,
        vision | {"timm_proj": "none"},
        embed_dim=32,
        text_cfg={"vocab_size": len(VOCABULARY), "width": 32, "heads": 4, "layers": 2, "hf_tokenizer_name": "x"} | text,
        init_logit_bias=-1.5,
        init_logit_scale=1.2,
    )


def save_blip2_itm(folder: Path, **qformer: Any) -> Blip2ForImageTextRetrieval:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
    }
    words = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 100,
        "encoder_hidden_size": 32,
        "max_position_embeddings": 40,
        "use_qformer_text_input": True,
    }
    config = Blip2Config(
        vision_config=vision, qformer_config=words | qformer, num_query_tokens=5, image_text_hidden_size=16
    )
    model = Blip2ForImageTextRetrieval(config)
    roughen(model, seed=5)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    BlipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder)
    return model.eval()


def save_dual(folder: Path, kind: Literal["clip", "siglip"]) -> PreTrainedModel:
    """transformers' own CLIP or SigLIP."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = tower | {"image_size": IMAGE_SIZE, "patch_size": 8}
    marks = {"bos_token_id": ID["[CLS]"], "eos_token_id": ID["[SEP]"], "pad_token_id": ID["[PAD]"]}
    text = tower | marks | {"vocab_size": len(VOCABULARY), "max_position_embeddings": 24}
    if kind == "clip":
        model: Any = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20))
        processor: Any = CLIPImageProcessor(
            size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        )
    else:
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        processor = SiglipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
        torch.nn.init.constant_(model.logit_bias, -1.5)
        torch.nn.init.constant_(model.logit_scale, 1.2)
    roughen(model, seed=6)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    processor.save_pretrained(folder)
    return model.eval()
