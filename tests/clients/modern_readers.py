"""`datasets`, webdataset and transformers, on the exports in the working folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
import webdataset
from PIL import Image
from transformers import AutoProcessor, Blip2ForImageTextRetrieval

TARS = "tars/{00000..00001}.tar"
IMAGES = 24


def by_datasets() -> str:
    """The `webdataset` loader, streaming and not, and the `json` loader."""
    files = {"train": sorted(map(str, Path("tars").glob("*.tar")))}
    for streaming in (True, False):
        rows = list(
            datasets.load_dataset("webdataset", data_files=files, split="train", streaming=streaming, cache_dir="c")
        )
        assert len(rows) == IMAGES
        for row in rows:
            assert isinstance(row["jpg"], Image.Image)
            said = row["json"]
            assert row["txt"] == said["caption"] == said["captions"][0]
            assert len(said["captions"]) == len(said["origins"]) == len(said["clip_scores"]) == len(said["itm_scores"])
            assert said["clip_scores"] == sorted(said["clip_scores"], reverse=True)
            assert said["url"].startswith("http://x/")
            assert len(said["sha256"]) == 64
        assert {row["json"]["LICENSE"] for row in rows} == {"?", None}
        assert {row["json"]["similarity"] for row in rows} == {"0.25", None}
    pairs = datasets.load_dataset("json", data_files="list.json", split="train", cache_dir="c")
    assert pairs.column_names == ["url", "caption"]
    assert len(pairs) == sum(len(row["json"]["captions"]) for row in rows)
    return f"{len(rows)} images with {rows[0]['json']}; {len(pairs)} pairs"


def by_webdataset() -> str:
    """A loader as its documentation has it."""
    loader = webdataset.WebDataset(TARS, shardshuffle=False).decode("pil").to_tuple("jpg", "json", "txt")
    found = list(loader)
    assert len(found) == IMAGES
    assert all(image.size == (said["width"], said["height"]) for image, said, _ in found)
    return f"{len(found)} images"


@torch.no_grad()
def by_transformers() -> str:
    """The lines of its own example, and ITC and ITM of the expected pixels."""
    model, told = Blip2ForImageTextRetrieval.from_pretrained("hf", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    processor, expected = AutoProcessor.from_pretrained("hf"), torch.load("expected.pt")
    given = dict(processor(images=[Image.new("RGB", (50, 40))] * 4, text=expected["texts"], return_tensors="pt"))
    wanted = expected["towers"]["clip_L"]
    given["pixel_values"] = wanted["pixels"]
    itm = model.eval()(**given, use_image_text_matching_head=True).logits_per_image
    itc = model(**given, use_image_text_matching_head=False).logits_per_image.diagonal()
    worst = max(float((itm - wanted["itm"]).abs().max()), float((itc - wanted["itc"]).abs().max()))
    assert worst < 1e-4, worst
    return f"ITC, ITM off by {worst:.1g} at most"


def by_json() -> str:
    """A parser that takes nothing but JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for _, said in webdataset.WebDataset(TARS, shardshuffle=False).to_tuple("jpg", "json"):
        json.loads(said, parse_constant=refuse)
    return f"{len(json.loads(Path('list.json').read_text(), parse_constant=refuse))} pairs"


READERS: dict[str, Callable[[], str]] = {
    f"datasets {datasets.__version__}": by_datasets,
    f"webdataset {webdataset.__version__}": by_webdataset,
    "transformers, Blip2ForImageTextRetrieval": by_transformers,
    "a strict parser of JSON": by_json,
}

if __name__ == "__main__":
    wrong = 0
    for name, read in READERS.items():
        try:
            print(f"{name}: {read()}", flush=True)
        except Exception as error:  # noqa: BLE001 - whatever a reader raises
            wrong += 1
            print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if wrong else 0)
