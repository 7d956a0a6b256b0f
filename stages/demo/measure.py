"""How good the demo models are, on pictures that no training saw: what `python -m stages.demo.train measure` prints.

The models are loaded and asked as published ones are, without the stages: this judges the checkpoints, and
report.py judges what a run of the pipeline made of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval, BlipProcessor

from stages.demo import tokenizer
from stages.demo.alt_text import AltText, alt_text_at
from stages.demo.language import is_right
from stages.demo.render import opened
from stages.demo.scene import Place, Scene, Stream, scene_at
from stages.metrics.roc import roc_auc

SAMPLES = 10
KEPT = 2
THRESHOLD = 0.5
ITM_TOKENS = 35


@dataclass(frozen=True)
class Exam:
    """Test pictures with their web texts and truths."""

    images: list[Image.Image]
    scenes: list[Scene]
    web: list[AltText]

    @staticmethod
    def set(*, images: int, seed: int) -> "Exam":
        """The first pictures of the test stream."""
        places = [Place(seed, Stream.TEST, index) for index in range(images)]
        return Exam([opened(p) for p in places], [scene_at(p) for p in places], [alt_text_at(p) for p in places])


class Captioner:
    """The captioner with nucleus sampling."""

    def __init__(self, folder: Path) -> None:
        self.model = BlipForConditionalGeneration.from_pretrained(str(folder))
        self.processor = BlipProcessor.from_pretrained(str(folder))

    def sample(self, images: Sequence[Image.Image], *, seed: int) -> list[list[str]]:
        """Ten captions an image, without the prompt."""
        torch.manual_seed(seed)
        captions: list[str] = []
        for start in range(0, len(images), 50):
            batch = list(images[start : start + 50])
            asked = self.processor(images=batch, text=["a picture of"] * len(batch), return_tensors="pt")
            said = self.model.generate(
                **asked, do_sample=True, top_p=0.9, num_return_sequences=SAMPLES, max_length=20, min_length=5
            )
            captions += [self.processor.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in said]
        captions = [caption.removeprefix("a picture of").strip() for caption in captions]
        return [captions[start : start + SAMPLES] for start in range(0, len(captions), SAMPLES)]


class Matcher:
    """The filter: the probability that a text fits an image."""

    def __init__(self, folder: Path) -> None:
        self.model = BlipForImageTextRetrieval.from_pretrained(str(folder))
        self.processor = BlipProcessor.from_pretrained(str(folder))

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        """One score a text."""
        return [self._one(image, list(of)) for image, of in zip(images, texts, strict=True)]

    def _one(self, image: Image.Image, texts: list[str]) -> NDArray[np.float64]:
        pixels = self.processor(images=image, return_tensors="pt").pixel_values
        tokens = self.processor.tokenizer(
            texts, padding=True, truncation=True, max_length=ITM_TOKENS, return_tensors="pt"
        )
        tokens.input_ids[:, 0] = tokenizer.ENC
        logits: Tensor = self.model(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels
        ).itm_score
        return logits.float().softmax(-1)[:, 1].double().numpy()


class Ranker:
    """CLIP: the cosine of a text and an image."""

    def __init__(self, folder: Path) -> None:
        self.model, self.transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
        self.model.eval()
        self.words = open_clip.get_tokenizer(f"local-dir:{folder}")

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        """One score a text."""
        return [self._one(image, list(of)) for image, of in zip(images, texts, strict=True)]

    def _one(self, image: Image.Image, texts: list[str]) -> NDArray[np.float64]:
        seen = self.model.encode_image(self.transform(image).unsqueeze(0), normalize=True)
        said = self.model.encode_text(self.words(texts), normalize=True)
        cosines: Tensor = said @ seen[0]
        return cosines.double().numpy()


def captions_measured(captions: list[list[str]], scenes: list[Scene]) -> dict[str, float]:
    """How many samples are right, how many images have a right one, and how many distinct texts an image has."""
    right = [[is_right(text, scene) for text in texts] for texts, scene in zip(captions, scenes, strict=True)]
    return {
        "captions right": float(np.mean(right)),
        "images with a right caption": float(np.mean([any(row) for row in right])),
        "distinct captions of an image": float(np.mean([len(set(texts)) for texts in captions])),
    }


def measure(folder: Path, *, images: int, seed: int) -> dict[str, float]:
    """All measures of the checkpoints in a folder."""
    exam = Exam.set(images=images, seed=seed)
    captions = Captioner(folder / "captioner").sample(exam.images, seed=seed)
    texts = [[web.text, *of] for web, of in zip(exam.web, captions, strict=True)]
    matches = Matcher(folder / "itm").score(exam.images, texts)
    ranks = Ranker(folder / "clip").score(exam.images, texts)
    right = [np.array([is_right(t, scene) for t in of]) for of, scene in zip(texts, exam.scenes, strict=True)]
    kept = [best(*row) for row in zip(texts, matches, ranks, strict=True)]
    kept_right = np.concatenate([of[chosen] for of, chosen in zip(right, kept, strict=True)])
    web_right = np.array([of[0] for of in right])
    return {
        **captions_measured(captions, exam.scenes),
        "web texts right": float(web_right.mean()),
        "ROC AUC of ITM on web texts": roc_auc(np.array([of[0] for of in matches]), web_right),
        "ROC AUC of ITM on captions": roc_auc(
            np.concatenate([of[1:] for of in matches]), np.concatenate([of[1:] for of in right])
        ),
        "kept captions right": float(kept_right.mean()),
        "kept captions an image": len(kept_right) / images,
        "right before the filter, best two by CLIP": float(
            np.concatenate(
                [of[best(t, np.ones(len(t)), r)] for of, t, r in zip(right, texts, ranks, strict=True)]
            ).mean()
        ),
    }


def best(texts: list[str], match: NDArray[np.float64], rank: NDArray[np.float64]) -> list[int]:
    """The best two distinct texts by CLIP among those that the filter lets through."""
    chosen: dict[str, int] = {}
    for number in np.argsort(-rank):
        if match[number] >= THRESHOLD and len(chosen) < KEPT:
            chosen.setdefault(texts[number].lower().strip(" ."), int(number))
    return list(chosen.values())
