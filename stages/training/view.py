"""How BLIP wants its images."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.models.vision.tower import View

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def blip_view(size: int, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> View:
    """A square of that many pixels a side, into which the whole picture is pressed, as BLIP evaluates."""

    def preprocess(image: Image.Image) -> Tensor:
        pressed = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(pressed)).permute(2, 0, 1).float() / 255
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    return View(preprocess, (size, size), mean, std)
