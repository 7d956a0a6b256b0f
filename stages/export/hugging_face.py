"""A trained Q-Former with its image tower as a folder that `Blip2ForImageTextRetrieval` of transformers loads."""

from __future__ import annotations

from typing import Any

import fsspec
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForImageTextRetrieval,
    Blip2Processor,
    BlipImageProcessor,
    CLIPImageProcessor,
)

from stages.errors import UserError
from stages.export.job import TrainedModel
from stages.export.trained import load_tower
from stages.files import whole_folder
from stages.models.bert_tokenizer import START, load_bert_tokenizer
from stages.models.loading import quiet
from stages.models.qformer import QFormer, QFormerConfig, load_qformer
from stages.models.qformer_checkpoint import HEADS_FILE
from stages.models.qformer_names import to_transformers
from stages.models.vision_names import to_transformers as tower_to_transformers
from stages.models.vision_tower import View, VisionTower

TOLERANCE = 1e-3
"""How far the exported tower's features may be from the tower's own, as a share of the largest."""
CARD = """\
---
library_name: transformers
---
# A Q-Former trained by capfilt

The first stage of BLIP-2 (arXiv 2301.12597) on the frozen image tower of `{tower}`, for
`Blip2ForImageTextRetrieval.from_pretrained` and `AutoProcessor.from_pretrained`.

- It was trained on texts in lower case, without punctuation, of up to {tokens} tokens.
- Compute in {formats}.
- `{heads}` holds what that class has no place for: the head that writes captions, and the temperature.
"""


def export(trained: TrainedModel, destination: str) -> list[str]:
    """Write the folder; it is there whole or not at all.

    Args:
        trained: what to export.
        destination: a local folder that is not there yet or empty, or an fsspec URL.

    Returns:
        What the user should know, a line each.

    Raises:
        UserError: the folder is not empty, a model is missing, or transformers has no place for the tower.
    """
    _check_empty(destination)
    qformer, (tower, view) = load_qformer(trained.weights), load_tower(trained)
    tokenizer = load_bert_tokenizer(trained.tokenizer, trained.tokenizer_revision, "pretrain.tokenizer")
    with quiet():
        model, rest = convert(qformer, tower, view, trained.model)
        processor = make_processor(tower.visual.preprocess_cfg, tokenizer, qformer.config)
    half_is_fine = len(model.vision_model.encoder.layers) == tower.penultimate + 1
    formats = "float32, bfloat16 or float16" if half_is_fine else "float32 or bfloat16; float16 gives NaN"
    with whole_folder(destination) as folder, quiet():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        save_file({name: value.contiguous() for name, value in rest.items()}, folder / HEADS_FILE)
        tokens = qformer.config.max_text_tokens
        card = CARD.format(tower=trained.model, tokens=tokens, formats=formats, heads=HEADS_FILE)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return [f"Blip2ForImageTextRetrieval.from_pretrained('{destination}') loads it; compute in {formats}"]


def convert(
    qformer: QFormer, tower: VisionTower, view: View, name: str
) -> tuple[Blip2ForImageTextRetrieval, dict[str, Tensor]]:
    """The model in transformers' class, and the weights that it has no place for, under our names.

    Raises:
        UserError: transformers has no place for this tower, or computes other features with it.
    """
    vision, weights = _convert_tower(tower, view, name)
    weights = {f"vision_model.{parameter}": value for parameter, value in weights.items()}
    own, rest = to_transformers(qformer.state_dict())
    with torch.device("meta"):
        model = Blip2ForImageTextRetrieval(_config(qformer.config, vision))
    model.load_state_dict(weights | own, assign=True)
    positions = torch.arange(qformer.config.max_text_tokens)[None]
    model.embeddings.register_buffer("position_ids", positions, persistent=False)  # no state dict has it
    model.train(mode=False)
    _check_features(model, tower, qformer, view, name)
    return model, rest


def make_processor(preprocess: dict[str, Any], tokenizer: BertTokenizer, config: QFormerConfig) -> Blip2Processor:
    """What prepares images as the tower wants them, and texts as the Q-Former does.

    Raises:
        UserError: transformers cannot resize images as this tower wants them.
    """
    tokenizer.bos_token = START
    tokenizer.model_max_length = config.max_text_tokens
    processor: Any = Blip2Processor
    made: Blip2Processor = processor(_image_processor(preprocess), tokenizer, num_query_tokens=config.queries)
    return made


def _image_processor(preprocess: dict[str, Any]) -> BlipImageProcessor | CLIPImageProcessor:
    size, mode = preprocess["size"], preprocess["resize_mode"]
    height, width = size if isinstance(size, tuple | list) else (size, size)
    named = {"height": height, "width": width}
    mean, std = list(preprocess["mean"]), list(preprocess["std"])
    if preprocess["interpolation"] == "bicubic" and mode == "squash":
        return BlipImageProcessor(size=named, image_mean=mean, image_std=std)
    if preprocess["interpolation"] == "bicubic" and mode == "shortest" and height == width:
        shortest = {"shortest_edge": height}
        return CLIPImageProcessor(size=shortest, crop_size=named, image_mean=mean, image_std=std)
    raise UserError(
        f"pretrain.model: it wants images resized by '{mode}' with {preprocess['interpolation']} interpolation, "
        f"for which transformers has no image processor; export to lavis"
    )


def _config(config: QFormerConfig, vision: dict[str, Any]) -> Blip2Config:
    return Blip2Config(
        vision_config=vision,
        qformer_config={
            "vocab_size": config.vocabulary,
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": 4 * config.width,
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": config.dropout,
            "max_position_embeddings": config.max_text_tokens,
            "cross_attention_frequency": config.image_every,
            "use_qformer_text_input": True,
        },
        num_query_tokens=config.queries,
        image_text_hidden_size=config.projection,
        image_token_index=config.vocabulary,  # the processor's placeholder, which it adds behind all words
    )


def _convert_tower(tower: VisionTower, view: View, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    height, width = view.size
    if height != width:
        raise _no_place(name, f"its images are {height} x {width}, not square")
    try:
        return tower_to_transformers(tower.visual, tower.penultimate + 1, height)
    except (AttributeError, ValueError) as error:
        raise _no_place(name, str(error)) from None


@torch.no_grad()
def _check_features(
    model: Blip2ForImageTextRetrieval, tower: VisionTower, qformer: QFormer, view: View, name: str
) -> None:
    """Compare the features of two images, one noisy and one plain."""
    pixels = torch.randn(2, 3, *view.size, generator=torch.Generator().manual_seed(0))
    pixels[1] = -1.0
    wanted = qformer.vision_norm(tower(pixels))
    found = model.vision_model(pixels).last_hidden_state
    distance = float((found - wanted).abs().max() / wanted.abs().max())
    if not distance <= TOLERANCE:
        raise _no_place(name, f"its features would be off by {distance:.1g} of the largest")


def _no_place(name: str, reason: str) -> UserError:
    return UserError(
        f"pretrain.model: Blip2ForImageTextRetrieval has no place for the image tower of '{name}' ({reason}); "
        f"export to lavis"
    )


def _check_empty(destination: str) -> None:
    filesystem, path = fsspec.core.url_to_fs(destination)
    if filesystem.exists(path) and (not filesystem.isdir(path) or filesystem.ls(path)):
        raise UserError(f"{destination} is there already; name a new folder")
