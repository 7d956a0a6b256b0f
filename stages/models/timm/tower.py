"""An image tower of timm, such as DINOv2: a model of images alone, from a hub name or a folder."""

from __future__ import annotations

from typing import Any

import timm
import torch
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg, image_transform_v2
from timm.data.config import resolve_data_config
from torch import nn

from stages.contract import Dtype
from stages.models.device import torch_dtype
from stages.models.family import ModelName
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.middle import safe
from stages.models.parts import check_pictures
from stages.models.vision.tower import View, VisionTower, check_transformer

KIND = "an image model of timm"


class ImagesOnly(TimmModel):  # type: ignore[misc]  # open_clip has no types
    """A model of timm as open_clip holds its towers, without a projection into a space of texts."""

    def __init__(self, trunk: nn.Module, preprocess_cfg: dict[str, Any]) -> None:
        nn.Module.__init__(self)  # that of `TimmModel` would build another trunk
        self.trunk = trunk
        self.head = nn.Identity()
        self.preprocess_cfg = preprocess_cfg
        """How it wants its images, in open_clip's words."""


def load_tower(name: ModelName, dtype: Dtype, device: torch.device) -> tuple[VisionTower, View]:
    """Load an image tower of timm.

    Raises:
        UserError: there is no such model, it is broken, or it is no transformer.
    """
    source = name.source()
    schema = f"local-dir:{source.location}" if source.is_folder else f"hf-hub:{source.shown}"
    try:
        with quiet():
            trunk = timm.create_model(schema, pretrained=True, num_classes=0)
    except LOADING_ERRORS as error:
        raise source.error(KIND, error) from None
    wanted = _preparation(trunk)
    visual = ImagesOnly(trunk, wanted).to(device, torch_dtype(dtype))
    check_transformer(name, visual)
    transform = image_transform_v2(PreprocessCfg(**wanted), is_train=False)
    check_pictures(source, transform, wanted["size"])
    view = View(safe(transform, wanted), wanted["size"], wanted["mean"], wanted["std"])
    return VisionTower(visual, torch_dtype(dtype)), view


def _preparation(trunk: nn.Module) -> dict[str, Any]:
    """How timm prepares images, in open_clip's words.

    The shorter side is scaled to what is read; timm's own evaluation may scale it to more (`crop_pct`) and cut off a
    margin, which captions speak of too.
    """
    config: dict[str, Any] = resolve_data_config({}, model=trunk)  # type: ignore[no-untyped-call]
    how = {"interpolation": "bicubic", "resize_mode": "shortest"}
    return {"size": tuple(config["input_size"][1:]), "mean": tuple(config["mean"]), "std": tuple(config["std"]), **how}
