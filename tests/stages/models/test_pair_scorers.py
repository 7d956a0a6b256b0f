"""Every family that scores pairs, against its own library's forward: one image and one text at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import small_models
import small_towers
import torch
from PIL import Image
from transformers import (
    BertTokenizer,
    Blip2ForImageTextRetrieval,
    BlipImageProcessor,
    CLIPImageProcessor,
    SiglipImageProcessor,
)

from stages.errors import UserError
from stages.models.families import load_encoder, load_scorer
from stages.models.family import ModelName, PairScorer, Role

CPU = torch.device("cpu")
TEXTS = ["a red circle", "dog", "two cats and a large blue square on the green dog", "cat sits at one dog"]
Alone = Callable[[Image.Image, str], float]
"""The score of one pair, by the library's own functions."""


def load(folder: Path, role: Role, dtype: Any = "float32") -> PairScorer:
    return load_scorer(ModelName("filter.model", str(folder)), role, dtype, CPU)  # type: ignore[arg-type]


def blip2(folder: Path) -> Alone:
    model = small_models.save_blip2_itm(folder)
    pictures, words = BlipImageProcessor.from_pretrained(folder), BertTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def alone(image: Image.Image, text: str) -> float:
        inputs = {**pictures(image, return_tensors="pt"), **words(text, return_tensors="pt")}
        inputs.pop("token_type_ids", None)
        logits = model(**inputs, use_image_text_matching_head=True).logits_per_image
        return float(logits.softmax(dim=1)[0, 1])

    return alone


def of_open_clip(folder: Path, probability: bool) -> Alone:
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")

    @torch.no_grad()
    def alone(image: Image.Image, text: str) -> float:
        pair = preprocess(image)[None], tokenize([text])
        if probability:
            logits, _ = model.eval().get_logits(*pair)
            return float(logits.sigmoid())
        image_side = model.eval().encode_image(pair[0], normalize=True)
        return float((image_side * model.encode_text(pair[1], normalize=True)).sum())

    return alone


def siglip(folder: Path) -> Alone:
    small_models.save_siglip(folder)
    return of_open_clip(folder, probability=True)


def siglip_cosine(folder: Path) -> Alone:
    small_models.save_siglip(folder)
    return of_open_clip(folder, probability=False)


def eva02(folder: Path) -> Alone:
    vision = {"image_size": 32, "timm_model_name": "eva02_of_a_test", "timm_pool": "token", "timm_proj": None}
    small_models.save_open_clip(folder, vision)
    return of_open_clip(folder, probability=False)


def dual(kind: Any, probability: bool) -> Callable[[Path], Alone]:
    def save(folder: Path) -> Alone:
        model: Any = small_models.save_dual(folder, kind)
        pictures: Any = (CLIPImageProcessor if kind == "clip" else SiglipImageProcessor).from_pretrained(folder)
        words = BertTokenizer.from_pretrained(folder)

        @torch.no_grad()
        def alone(image: Image.Image, text: str) -> float:
            ids = words(text, padding="max_length", max_length=24, return_tensors="pt")["input_ids"]
            found = model(input_ids=ids, **pictures(image, return_tensors="pt"))
            if probability:
                return float(found.logits_per_image.sigmoid())
            return float((found.image_embeds * found.text_embeds).sum())

        return alone

    return save


FAMILIES: dict[str, tuple[Role, Callable[[Path], Alone]]] = {
    "BLIP-2 as a filter": ("filter", blip2),
    "BLIP-2 as a ranker": ("ranker", blip2),
    "SigLIP as a filter": ("filter", siglip),
    "SigLIP as a ranker": ("ranker", siglip_cosine),
    "EVA-02-CLIP": ("ranker", eva02),
    "transformers' CLIP": ("ranker", dual("clip", probability=False)),
    "transformers' SigLIP as a filter": ("filter", dual("siglip", probability=True)),
    "transformers' SigLIP as a ranker": ("ranker", dual("siglip", probability=False)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_are_the_librarys_own(name: str, tmp_path: Path, pictures: dict[str, Image.Image]) -> None:
    role, save = FAMILIES[name]
    alone = save(tmp_path / "model")
    scorer = load(tmp_path / "model", role)
    images, texts = list(pictures.values())[:3], [TEXTS, [], [TEXTS[1], TEXTS[3]]]
    scores = scorer.score(torch.stack([scorer.preprocess(image) for image in images]), texts)
    for image, said, found in zip(images, texts, scores, strict=True):
        assert found == pytest.approx([alone(image, scorer.prepare(text)) for text in said], abs=1e-5)
    every = [score for found in scores for score in found]
    assert len({round(score, 3) for score in every}) > 3
    assert role == "ranker" or all(0 < score < 1 for score in every)
    half = load(tmp_path / "model", role, "bfloat16")
    nearly = half.score(torch.stack([half.preprocess(images[0])]), [TEXTS])[0]
    assert nearly == pytest.approx(scores[0], abs=0.1)


def test_the_scale_and_the_bias_of_siglip_keep_their_digits(tmp_path: Path) -> None:
    """In bfloat16 1.2 is 1.203; of SigLIP's published 4.765 it would make 4.781, and the scale 117 a 119."""
    model = small_models.save_siglip(tmp_path / "model")
    half: Any = load(tmp_path / "model", "filter", "bfloat16")
    cosines = torch.linspace(-1, 1, 9)
    expected = torch.sigmoid(model.logit_scale.exp() * cosines + model.logit_bias)
    assert torch.equal(half._measure(cosines), expected.detach())


def test_a_siglip_whose_weights_have_no_bias(clip_folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(clip_folder, tmp_path / "model")
    path = tmp_path / "model" / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["init_logit_bias"] = -10
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"^filter\.model: the weights of .* have no bias \(logit_bias\)"):
        load(tmp_path / "model", "filter")
    load(tmp_path / "model", "ranker")


def test_blip2_encodes_an_image_once_and_equal_keys_and_values_too(
    tmp_path: Path, pictures: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_models.save_blip2_itm(tmp_path / "model")
    scorer: Any = load(tmp_path / "model", "filter")
    looked: list[torch.Size] = []
    look = scorer._qformer.look
    monkeypatch.setattr(scorer._qformer, "look", lambda tokens: looked.append(tokens.shape) or look(tokens))
    pixels = torch.stack([scorer.preprocess(image) for image in list(pictures.values())[:2]])
    many = [f"a {word}" for word in small_models.VOCABULARY[6:]]
    scores = scorer.score(pixels, [many, many[:3]])
    assert looked == [(2, 1 + 16, 32)]
    assert scores[1] == pytest.approx(scorer.score(pixels[1:], [many[:3]])[0], abs=1e-5)
    assert scores[0][70 % len(many)] == pytest.approx(
        scorer.score(pixels[:1], [[many[70 % len(many)]]])[0][0], abs=1e-5
    )


def test_blip2_reads_32_tokens_of_50_words_and_no_placeholder(tmp_path: Path, pictures: dict[str, Image.Image]) -> None:
    small_models.save_blip2_itm(tmp_path / "model")
    tokenizer = BertTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.add_tokens(["<image>"], special_tokens=True)  # what BLIP-2's processor adds
    tokenizer.save_pretrained(tmp_path / "model")
    scorer = load(tmp_path / "model", "filter")
    pixels = scorer.preprocess(next(iter(pictures.values())))[None]
    words = ["red", "blue", "green"] * 20
    fitting, longer, short = " ".join(words[:30]), " ".join(words[:50]), " ".join(words[:29])
    ((one, two, other, placeholder, unknown),) = scorer.score(
        pixels, [[fitting, longer, short, "a <image> dog", "a [UNK] dog"]]
    )
    assert one == pytest.approx(two, abs=1e-6)
    assert one != pytest.approx(other, abs=1e-5)
    assert placeholder == pytest.approx(unknown, abs=1e-6)
    assert scorer.prepare("A Dog! " * 60) == " ".join(["a dog"] * 25)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"use_qformer_text_input": False}, "use_qformer_text_input must be true"),
        ({"hidden_act": "relu"}, "hidden_act relu"),
    ],
)
def test_another_qformer_than_blip2s(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    small_models.save_blip2_itm(tmp_path / "model", **changes)
    with pytest.raises(UserError, match=f"^filter\\.model: the Q-Former of .* is not BLIP-2's: .*{expected}"):
        load(tmp_path / "model", "filter")


def test_the_second_stage_under_the_firsts_name(tmp_path: Path) -> None:
    model: Blip2ForImageTextRetrieval = small_models.save_blip2_itm(tmp_path / "model")
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("itm_head")}
    model.save_pretrained(tmp_path / "model", state_dict=state)
    with pytest.raises(UserError, match=r"is not a BLIP-2 matching model: 2 of the weights of one are not in it, itm"):
        load(tmp_path / "model", "filter")


def test_whose_space_a_tower_shares(tmp_path: Path) -> None:
    small_models.save_siglip(tmp_path / "siglip")
    assert load_encoder(ModelName("pretrain.model", str(tmp_path / "siglip")), "float32", CPU) is not None
    small_towers.save_dinov2(tmp_path / "dinov2")
    assert load_encoder(ModelName("pretrain.model", str(tmp_path / "dinov2")), "float32", CPU) is None
