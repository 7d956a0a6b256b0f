"""A trained Q-Former with its image tower as a folder that `Blip2ForImageTextRetrieval` of transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

from stages.export.job import NoPlaceError, TrainedModel, shown
from stages.export.trained import check_features, load_tower
from stages.models.bert_tokenizer import START, load_bert_tokenizer
from stages.models.loading import quiet
from stages.models.qformer.checkpoint import HEADS_FILE
from stages.models.qformer.model import QFormer, QFormerConfig, load_qformer
from stages.models.qformer.names import to_transformers
from stages.models.vision.names import to_transformers as tower_to_transformers
from stages.models.vision.tower import View, VisionTower

TOLERANCE = 1e-3
"""How far the exported tower's features may be from the tower's own, as a share of the largest."""
CARD = """\
---
library_name: transformers
---
# A Q-Former trained by capfilt

The first stage of BLIP-2 (arXiv 2301.12597) on the frozen image tower of `{tower}`. Load it by its class, for
`AutoModel` takes the folder for another one and draws what that lacks:

```python
import torch
from PIL import Image
from transformers import AutoProcessor, Blip2ForImageTextRetrieval

folder = "."  # where this file lies
model = Blip2ForImageTextRetrieval.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder)
image = Image.new("RGB", (224, 224), "red")
inputs = processor(images=image, text="a red square", return_tensors="pt")
with torch.no_grad():
    match = model(**inputs, use_image_text_matching_head=True).logits_per_image.softmax(dim=1)[:, 1]
    cosine = model(**inputs, use_image_text_matching_head=False).logits_per_image
```

- It was trained on texts in lower case, without punctuation, of up to {tokens} tokens; the processor cuts longer ones.
- Compute in {formats}.
- `{heads}` holds what that class has no place for: the head that writes captions, and the temperature.
"""


def export(trained: TrainedModel, folder: Path) -> list[str]:
    """Write the folder's files.

    Args:
        trained: what to export.
        folder: an empty one.

    Returns:
        What the user should know, a line each.

    Raises:
        UserError: a model is missing.
        NoPlaceError: transformers has no place for the tower.
    """
    qformer, (tower, view) = load_qformer(trained.weights), load_tower(trained)
    tokenizer = load_bert_tokenizer(trained.tokenizer, trained.tokenizer_revision, "pretrain.tokenizer")
    with quiet():
        model, rest = convert(qformer, tower, view, shown(trained))
        processor = make_processor(tower.visual.preprocess_cfg, tokenizer, qformer.config)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    save_file({name: value.contiguous() for name, value in rest.items()}, folder / HEADS_FILE)
    half_is_fine = len(model.vision_model.encoder.layers) == tower.penultimate + 1
    formats = "float32, bfloat16 or float16" if half_is_fine else "float32 or bfloat16; float16 gives NaN"
    tokens = qformer.config.max_text_tokens
    card = CARD.format(tower=shown(trained), tokens=tokens, formats=formats, heads=HEADS_FILE)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return [f"Blip2ForImageTextRetrieval.from_pretrained loads it; compute in {formats}"]


def carries(trained: TrainedModel) -> bool:
    """Whether transformers would compute the same.

    Raises:
        UserError: a model is missing.
    """
    qformer, (tower, view) = load_qformer(trained.weights), load_tower(trained)
    try:
        with quiet():
            convert(qformer, tower, view, shown(trained))
            _image_processor(tower.visual.preprocess_cfg)
    except NoPlaceError:
        return False
    return True


def convert(
    qformer: QFormer, tower: VisionTower, view: View, name: str
) -> tuple[Blip2ForImageTextRetrieval, dict[str, Tensor]]:
    """The model in transformers' class, and the weights that it has no place for, under our names.

    Raises:
        NoPlaceError: transformers has no place for this tower, or computes other features with it.
    """
    vision, weights = _convert_tower(tower, view, name)
    weights = {f"vision_model.{parameter}": value for parameter, value in weights.items()}
    own, rest = to_transformers(qformer.state_dict())
    with torch.device("meta"):
        model = Blip2ForImageTextRetrieval(_config(qformer.config, vision))
    try:
        model.load_state_dict(weights | own, assign=True)
    except RuntimeError as error:  # a tensor of another shape
        raise _no_place(name, str(error).splitlines()[-1].strip()) from None
    positions = torch.arange(qformer.config.max_text_tokens)[None]
    model.embeddings.register_buffer("position_ids", positions, persistent=False)  # no state dict has it
    model.train(mode=False)
    try:
        check_features(tower, view, lambda pixels: model.vision_model(pixels)[0], TOLERANCE, qformer.vision_norm)
    except ValueError as error:
        raise _no_place(name, str(error)) from None
    return model, rest


def make_processor(preprocess: dict[str, Any], tokenizer: BertTokenizer, config: QFormerConfig) -> Blip2Processor:
    """What prepares images as the tower wants them, and texts as the Q-Former does.

    Raises:
        NoPlaceError: transformers cannot resize images as this tower wants them.
    """
    tokenizer.bos_token = START
    _cut_long_texts(tokenizer, config.max_text_tokens)
    processor: Any = Blip2Processor
    made: Blip2Processor = processor(_image_processor(preprocess), tokenizer, num_query_tokens=config.queries)
    return made


def _cut_long_texts(tokenizer: BertTokenizer, tokens: int) -> None:
    """Have a processor cut texts that are longer, and pad shorter ones, unless it is told otherwise.

    A processor takes what its tokenizer was saved with for its own defaults. Of `max_length` it would subtract the
    queries, which stand before the text; the tokenizer's own limit it takes as it is.
    """
    tokenizer.model_max_length = tokens
    tokenizer.init_kwargs |= {"truncation": True, "padding": True}
    tokenizer.init_kwargs.pop("max_length", None)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()


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
    raise NoPlaceError(
        f"pretrain.model: it wants images resized by '{mode}' with {preprocess['interpolation']} interpolation, "
        f"for which transformers has no image processor"
    )


def _config(config: QFormerConfig, vision: dict[str, Any]) -> Blip2Config:
    return Blip2Config(
        vision_config=vision,
        qformer_config={
            "vocab_size": config.vocabulary,
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.feed_forward,
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


def _no_place(name: str, reason: str) -> NoPlaceError:
    return NoPlaceError(
        f"pretrain.model: Blip2ForImageTextRetrieval has no place for the image tower of '{name}': {reason}"
    )
