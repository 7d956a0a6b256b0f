"""What a captioner that is being trained says of images that are kept back, and how people would like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from stages.contract import Dtype
from stages.finetune.build import Built
from stages.io.files import scratch_folder
from stages.metrics.captions import score
from stages.models.blip.captioner import Captioner, load_captioner
from stages.models.blip.folder import write_folder
from stages.models.blip.sampling import Sampling
from stages.models.blip.trainable.published import describe_trained
from stages.models.family import ModelName
from stages.training.holdout import CHUNK, HeldOut

SEARCH: Final = Sampling(
    top_p=1.0, top_k=None, temperature=1.0, repetition_penalty=1.0, max_length=16, min_length=1, beams=3
)
"""As BLIP writes on COCO, see `PredictRecipe`."""


@torch.no_grad()
def cider(built: Built, held_out: HeldOut, prompt: str, dtype: Dtype, device: torch.device) -> float:
    """CIDEr-D of one caption per image against all that people said of it, in [0, 10]; see `stages.metrics.captions`.

    The weights are read as the next step will read them: from a folder.
    """
    with scratch_folder() as folder:
        state = {name: value.cpu() for name, value in built.model.state_dict().items()}
        write_folder(state, describe_trained(built.config, None), built.tokens.tokenizer, folder)
        captioner = load_captioner(ModelName("finetune", str(folder)), prompt, SEARCH, dtype, device)
        said = _write(captioner, held_out, device)
    references: Mapping[str, Sequence[str]] = dict(zip(said, held_out.references, strict=True))
    return score(said, references).measures["CIDEr-D"]


def _write(captioner: Captioner, held_out: HeldOut, device: torch.device) -> dict[str, str]:
    """By the number of an image; nothing where the model's numbers are not finite."""
    texts: list[str] = []
    for first in range(0, len(held_out.images), CHUNK):
        images = held_out.images[first : first + CHUNK].to(device)
        found = captioner.caption(images, np.zeros((len(images), 1, SEARCH.max_length)))
        texts += [captions[0].text if captions else "" for captions in found]
    return {str(number): text for number, text in enumerate(texts)}
