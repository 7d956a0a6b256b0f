"""The scorers against transformers and open_clip on their own: one image and one text at a time."""

import math
from collections.abc import Sequence
from pathlib import Path

import open_clip
import pytest
import small_models
import torch
from PIL import Image
from torch import Tensor
from transformers import BertTokenizer, BlipForImageTextRetrieval, BlipImageProcessor

from stages.models.blip.itm import ItmScorer, load_itm
from stages.models.clip.loading import load_clip
from stages.models.embedding import EmbeddingScorer
from stages.models.family import ModelName, PairScorer

CPU = torch.device("cpu")
TEXTS = ["a red circle", "dog", "two cats and a large blue square on the green dog", "cat sits at one dog"]


@pytest.fixture(scope="module")
def itm(itm_folder: Path) -> ItmScorer:
    return load_itm(ModelName("filter.model", str(itm_folder)), "float32", CPU)


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> EmbeddingScorer:
    return load_clip(ModelName("rank.model", str(clip_folder), None, None), "float32", CPU)


def score_all(scorer: PairScorer, images: list[Image.Image], texts: list[list[str]]) -> list[list[float]]:
    return scorer.score(torch.stack([scorer.preprocess(image) for image in images]), texts)


def itm_alone(folder: Path, image: Image.Image, text: str, first: int | None) -> float:
    """The probability by transformers' own forward."""
    model = BlipForImageTextRetrieval.from_pretrained(folder)
    pixels = BlipImageProcessor.from_pretrained(folder)(image, return_tensors="pt")["pixel_values"]
    tokens = BertTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=35)
    if first is not None:
        tokens["input_ids"][:, 0] = first
    with torch.no_grad():
        logits = model(input_ids=tokens["input_ids"], pixel_values=pixels).itm_score
    return float(logits.softmax(-1)[0, 1])


def clip_alone(folder: Path, image: Image.Image, text: str) -> float:
    """The cosine by open_clip's own functions."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([text])
    with torch.no_grad():
        one = model.eval().encode_image(preprocess(image)[None], normalize=True)
        two = model.encode_text(tokens, normalize=True)
    return float((one * two).sum())


def test_itm_is_that_of_transformers_with_enc_in_front(
    itm: ItmScorer, itm_folder: Path, pictures: dict[str, Image.Image]
) -> None:
    images = list(pictures.values())[:3]
    texts = [TEXTS, [], TEXTS[1:3]]
    enc = BertTokenizer.from_pretrained(itm_folder).get_vocab()["[ENC]"]
    scores = score_all(itm, images, texts)
    for image, of_image, found in zip(images, texts, scores, strict=True):
        assert found == pytest.approx([itm_alone(itm_folder, image, text, enc) for text in of_image], abs=1e-4)
    assert len({round(score, 3) for found in scores for score in found}) > 3


@pytest.mark.parametrize("heads", [1, 12])
def test_the_matching_logits_are_those_of_transformers(
    heads: int, tmp_path: Path, pictures: dict[str, Image.Image]
) -> None:
    folder = small_models.save_itm(tmp_path / "itm", text_heads=heads)
    scorer = load_itm(ModelName("filter.model", str(folder)), "float32", CPU)
    model, tokenizer = BlipForImageTextRetrieval.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    images = [scorer.preprocess(image) for image in list(pictures.values())[:3]]
    texts = [TEXTS, TEXTS[:1], ["", *TEXTS[2:]]]
    found = scorer.logits(torch.stack(images), texts)
    pairs = [(image, text) for image, said in zip(images, texts, strict=True) for text in said]
    for (image, text), row in zip(pairs, found, strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        ids[:, 0] = small_models.ID["[ENC]"]
        with torch.no_grad():
            expected = model(input_ids=ids, pixel_values=image[None]).itm_score[0]
        assert (row - expected).abs().max() < 1e-4


def test_cls_in_front_would_give_other_scores(
    itm: ItmScorer, itm_folder: Path, pictures: dict[str, Image.Image]
) -> None:
    image = pictures["web-0-0-0"]
    ((score,),) = score_all(itm, [image], [["dog"]])
    assert abs(score - itm_alone(itm_folder, image, "dog", first=None)) > 1e-3


def test_itm_reads_35_tokens(itm: ItmScorer, pictures: dict[str, Image.Image]) -> None:
    words = ["red", "blue", "green"] * 20  # a word is a token; [ENC] and [SEP] take two of the 35 places
    fitting, longer = " ".join(words[:33]), " ".join(words[:50])
    ((one, two, short),) = score_all(itm, [pictures["web-0-0-0"]], [[fitting, longer, "red"]])
    assert one == pytest.approx(two, abs=1e-6)
    assert one != pytest.approx(short, abs=1e-3)


def test_itm_cleans_and_clip_does_not(itm: ItmScorer, clip: EmbeddingScorer) -> None:
    assert itm.prepare(" A Dog! ") == "a dog"
    assert clip.prepare(" A Dog! ") == "A Dog!"
    assert itm.prepare("!!!") == itm.prepare(" ") == clip.prepare("  ") == ""


def test_clip_is_the_cosine_of_open_clip(
    clip: EmbeddingScorer, clip_folder: Path, pictures: dict[str, Image.Image]
) -> None:
    images = list(pictures.values())[:3]
    texts = [TEXTS, [], ["dog", "a b c"]]
    scores = score_all(clip, images, texts)
    for image, of_image, found in zip(images, texts, scores, strict=True):
        assert found == pytest.approx([clip_alone(clip_folder, image, text) for text in of_image], abs=1e-4)
    assert len({round(score, 3) for found in scores for score in found}) > 3


@pytest.mark.parametrize("kind", ["itm", "clip"])
def test_a_batch_without_texts(
    itm: ItmScorer, clip: EmbeddingScorer, pictures: dict[str, Image.Image], kind: str
) -> None:
    scorer: PairScorer = itm if kind == "itm" else clip
    assert score_all(scorer, list(pictures.values())[:2], [[], []]) == [[], []]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close(
    clip: EmbeddingScorer, clip_folder: Path, pictures: dict[str, Image.Image], dtype: str
) -> None:
    half = load_clip(ModelName("rank.model", str(clip_folder), None, None), dtype, CPU)  # type: ignore[arg-type]
    images = list(pictures.values())[:1]
    assert score_all(half, images, [TEXTS])[0] == pytest.approx(score_all(clip, images, [TEXTS])[0], abs=0.02)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("place", [0, 1])
def test_a_probability_of_an_infinite_logit_is_none(
    itm: ItmScorer, pictures: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch, value: float, place: int
) -> None:
    """Of one infinite logit softmax makes a probability of exactly 0 or 1."""
    images = list(pictures.values())[:2]
    whole = score_all(itm, images, [TEXTS, TEXTS])
    logits = itm.logits

    def spoilt(pixels: Tensor, texts: Sequence[Sequence[str]]) -> Tensor:
        found = logits(pixels, texts)
        found[1, place] = value
        return found

    monkeypatch.setattr(itm, "logits", spoilt)
    (first, second, *rest), others = score_all(itm, images, [TEXTS, TEXTS])
    assert math.isnan(second)
    assert ([first, *rest], others) == ([whole[0][0], *whole[0][2:]], whole[1])


def test_embeddings_without_a_direction_have_no_cosine(
    clip: EmbeddingScorer, pictures: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = list(pictures.values())[:3]
    whole = score_all(clip, images, [TEXTS] * 3)
    encode = clip._encode_image
    scale = torch.tensor([[0.0], [1.0], [torch.inf]])
    monkeypatch.setattr(clip, "_encode_image", lambda pixels: encode(pixels) * scale)
    zero, fine, infinite = score_all(clip, images, [TEXTS] * 3)
    assert all(map(math.isnan, zero + infinite))
    assert fine == whole[1]


def test_a_filter_of_few_positions_reads_as_many_tokens_as_it_has(
    tmp_path: Path, pictures: dict[str, Image.Image]
) -> None:
    config = small_models.blip_config(2)
    config.text_config.max_position_embeddings = 12
    BlipForImageTextRetrieval(config).save_pretrained(tmp_path)
    small_models.save_tokenizer(tmp_path)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    scorer = load_itm(ModelName("filter.model", str(tmp_path)), "float32", CPU)
    words = ["red", "blue", "green"] * 9
    ((one, two),) = score_all(scorer, [pictures["web-0-0-0"]], [[" ".join(words[:10]), " ".join(words)]])
    assert one == pytest.approx(two, abs=1e-6)
