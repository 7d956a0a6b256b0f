"""LAVIS as packaged, on the exports in the working folder. It knows nothing of capfilt."""

from __future__ import annotations

import signal
import sys
from itertools import islice
from typing import Any

import torch
from lavis.datasets.datasets.laion_dataset import LaionDataset
from lavis.models import clip_vit, eva_vit
from lavis.models.blip2_models.blip2_image_text_matching import Blip2ITM
from lavis.processors.blip_processors import Blip2ImageTrainProcessor, BlipCaptionProcessor
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

TOLERANCE = 1e-5
SECONDS = 120
"""A loader that finds no sample goes round for ever."""


def main() -> int:
    """Say what is right and what is not; the exit code."""
    signal.alarm(SECONDS)
    expected = torch.load("expected.pt")
    tower_classes = clip_vit.VisionTransformer, eva_vit.VisionTransformer
    right = [
        scores_are_equal(name, expected["texts"], told, tower_classes) for name, told in expected["towers"].items()
    ]
    return 0 if all([*right, batches_come()]) else 1


def scores_are_equal(vit_model: str, texts: list[str], told: dict[str, Any], classes: tuple[Any, Any]) -> bool:
    """Load a checkpoint as a configuration names it, and compare ITC and ITM."""
    of_these_sizes(told["sizes"], *classes)
    settings = {"load_finetuned": False, "pretrained": f"{vit_model}.pth", "vit_model": vit_model}
    model = Blip2ITM.from_config(OmegaConf.create({**settings, "vit_precision": "fp32", **told["settings"]})).eval()
    model.load_state_dict(torch.load(f"{vit_model}.pth")["model"])  # strictly: nothing is missing, nothing is left
    worst = 0.0
    with torch.no_grad():
        for head, wanted in (("itm", told["itm"]), ("itc", told["itc"])):
            for number, text in enumerate(texts):  # its ITM class does not pad
                given = {"image": told["pixels"][number : number + 1], "text_input": [text]}
                worst = max(worst, float((model(given, match_head=head).flatten() - wanted[number]).abs().max()))
    print(
        f"LAVIS 1.0.2, {vit_model}: {len(model.state_dict())} tensors, all found; ITC, ITM off by {worst:.1g} at most"
    )
    return worst <= TOLERANCE


def of_these_sizes(sizes: dict[str, int], clip: Any, eva: Any) -> None:
    """Give LAVIS's towers other sizes than those it knows, and an empty state instead of a download."""
    torch.save({}, "nothing.pth")
    clip_vit.download_cached_file = eva_vit.download_cached_file = lambda *_, **__: "nothing.pth"
    both = {"patch_size": sizes["patch"]}
    clip_vit.VisionTransformer = lambda **given: clip(
        **{**given, **both, "width": sizes["width"], "heads": sizes["heads"], "layers": sizes["blocks"] + 1}
    )
    eva_vit.VisionTransformer = lambda **given: eva(
        **{**given, **both, "embed_dim": sizes["width"], "num_heads": sizes["heads"], "depth": sizes["blocks"]}
    )


def batches_come() -> bool:
    """Draw batches of the tars as its training does."""
    data = LaionDataset(Blip2ImageTrainProcessor(image_size=32), BlipCaptionProcessor(), "tars/{00000..00001}.tar")
    batches = list(islice(DataLoader(data.inner_dataset, batch_size=4), 8))
    texts = [text for batch in batches for text in batch["text_input"]]
    shapes = {tuple(batch["image"].shape) for batch in batches}
    print(f"LAVIS 1.0.2, LaionDataset: {len(batches)} batches of {shapes}, such as {texts[0]!r}")
    return len(texts) == 32 and all(isinstance(text, str) and text for text in texts) and shapes == {(4, 3, 32, 32)}


if __name__ == "__main__":
    sys.exit(main())
