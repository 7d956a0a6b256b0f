"""BLIP in every format that it is kept in: the same weights, the same answers."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plain_blip
import pytest
import small_models
import torch
from PIL import Image
from plain_blip import PlainBlip, Sizes, State
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoProcessor,
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
)
from transformers.utils import logging as transformers_logging

from stages.errors import UserError
from stages.models.bert_tokenizer import load_blip_tokenizer
from stages.models.blip.description import ImageTower, TextStack, describe
from stages.models.blip.folder import REST_FILE, write_folder
from stages.models.blip.names import from_transformers, only, with_ties, without_ties
from stages.models.blip.positions import resize
from stages.models.blip.published import write_pth
from stages.models.blip.reading import BlipCheckpoint, read_blip
from stages.models.blip.sampling import Sampling
from stages.models.families import check, load_captioner, load_scorer
from stages.models.family import ModelName

KEY = "captioner.init"
SIZES = Sizes(words=len(small_models.VOCABULARY))
SQUARE = SIZES._replace(vision=SIZES.text)
"""transformers' class for questions has room for no other."""
KINDS: dict[str, Callable[[], State]] = {
    "captioning": lambda: plain_blip.captioning(SIZES),
    "retrieval": lambda: plain_blip.retrieval(SIZES),
    "pretraining": lambda: plain_blip.pretraining(SIZES),
    "questions": lambda: plain_blip.questions(SQUARE),
    "questions about wide images": lambda: plain_blip.questions(SIZES),
}
CLASSES = {
    "captioning": BlipForConditionalGeneration,
    "retrieval": BlipForImageTextRetrieval,
    "pretraining": BlipForImageTextRetrieval,
    "questions": BlipForQuestionAnswering,
}
ID = small_models.ID
TEXT = "a small red dog"
CPU = torch.device("cpu")


def made(kind: str) -> State:
    torch.manual_seed(sorted(KINDS).index(kind))
    return KINDS[kind]()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blip")


@pytest.fixture(scope="module")
def tokenizer(place: Path) -> BertTokenizer:
    small_models.save_tokenizer(place / "words")
    return load_blip_tokenizer(str(place / "words"), None, KEY)


@pytest.fixture(scope="module")
def saved(place: Path, tokenizer: BertTokenizer) -> Callable[[str], tuple[Path, Path]]:
    """A kind's file as BLIP saves it, and the folder that was made of it; each once."""

    def save(kind: str) -> tuple[Path, Path]:
        file, folder = place / f"{kind}.pth", place / kind
        if not folder.exists():
            torch.save({"model": made(kind), "epoch": 3, "config": {"vit": "base"}}, file)
            found = read_blip(str(file), None, KEY)
            write_folder(found.state, found.description, tokenizer, folder)
        return file, folder

    return save


@pytest.fixture(scope="module")
def image() -> Image.Image:
    noise = np.random.default_rng(5).integers(0, 256, (50, 41, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def assert_equal(found: State, wanted: State) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_file_comes_back_bit_for_bit(kind: str, saved: Callable[[str], tuple[Path, Path]], tmp_path: Path):
    file, folder = saved(kind)
    for place in (file, folder):
        found = read_blip(str(place), None, KEY)
        assert_equal(found.state, made(kind))
        write_pth(found.state, found.description, tmp_path / "again.pth")
        again = torch.load(tmp_path / "again.pth", weights_only=True)
        assert_equal(again["model"], made(kind))
    assert read_blip(str(tmp_path / "again.pth"), None, KEY).description == found.description


@pytest.mark.parametrize("kind", ["pretraining", "questions"])
def test_number_formats_are_kept(kind: str, tokenizer: BertTokenizer, tmp_path: Path):
    state = {name: v.bfloat16() if v.is_floating_point() else v for name, v in made(kind).items()}
    torch.save({"model": state}, tmp_path / "half.pth")
    read = read_blip(str(tmp_path / "half.pth"), None, KEY)
    write_folder(read.state, read.description, tokenizer, tmp_path / "half")
    found = read_blip(str(tmp_path / "half"), None, KEY).state
    assert_equal(found, state)


def test_nothing_is_kept_twice(saved: Callable[[str], tuple[Path, Path]]):
    """Of a pretrained model what encoder and decoder share is in the folder once; a captioner is one file."""
    folder = saved("pretraining")[1]
    own, rest = load_file(folder / "model.safetensors"), load_file(folder / REST_FILE)
    weights = [value for name, value in made("pretraining").items() if not name.endswith("position_ids")]
    distinct = {value.data_ptr(): value.numel() for value in weights}
    assert sum(value.numel() for value in [*own.values(), *rest.values()]) == sum(distinct.values())
    assert not any("crossattention" in name for name in rest if name.startswith("text_decoder"))
    assert not (saved("captioning")[1] / REST_FILE).exists()


@pytest.mark.parametrize("tied", ["", "attention", "crossattention", "all"])
def test_whatever_is_tied_is_found_again(tied: str):
    """The sharing variants of the paper's table 3."""
    state = plain_blip.compared(SIZES) | plain_blip.decoder(SIZES, SIZES.vision)
    for name in [name for name in state if name.startswith("text_encoder.")]:
        if tied and f".{tied}." not in name:
            state["text_decoder.bert." + name.removeprefix("text_encoder.")] = state[name]
    words = state["text_decoder.bert.embeddings.word_embeddings.weight"]
    state["text_decoder.cls.predictions.decoder.weight"] = words
    assert_equal(with_ties(without_ties(state)), state)


@pytest.mark.parametrize(("width", "layers", "heads", "millions"), [(768, 12, 12, 224), (1024, 24, 16, 446)])
def test_the_published_sizes_are_told_from_the_weights(width: int, layers: int, heads: int, millions: int):
    vision = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = BlipConfig(
        vision_config=vision | {"intermediate_size": 4 * width}, text_config={"num_attention_heads": 12}
    )
    with torch.device("meta"):
        model = BlipForConditionalGeneration(config)
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6) == millions
    found = describe(from_transformers(model.state_dict()), {})
    assert found.vision == ImageTower(width, layers, heads, patch=16, image_size=384, inner=4 * width)
    assert found.text == TextStack(768, 12, 12, inner=3072, vocabulary=30524, positions=512, source_width=width)
    assert (found.vision.epsilon, found.text.epsilon, found.text.dropout, found.projection) == (1e-6, 1e-12, 0.1, 256)


def load(kind: str, folder: Path) -> tuple[Any, Any]:
    """As anybody would; a warning, or a key too many or too few, fails."""
    said: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    transformers_logging.add_handler(listener)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model, info = CLASSES[kind].from_pretrained(folder, output_loading_info=True)
            processor = AutoProcessor.from_pretrained(folder)
    finally:
        transformers_logging.remove_handler(listener)
    assert said == []
    assert not any(info[which] for which in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    return model, processor


def close(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found.double(), wanted, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["captioning", "pretraining"])
def test_transformers_says_captions_alike(
    kind: str, saved: Callable[[str], tuple[Path, Path]], image: Image.Image, tokenizer: BertTokenizer, tmp_path: Path
):
    """A pretrained model's captioner as well, from a folder of its own."""
    whole = read_blip(str(saved(kind)[0]), None, KEY)
    write_folder(only(whole.state, "BlipForConditionalGeneration"), whole.description, tokenizer, tmp_path)
    model, processor = load("captioning", tmp_path)
    inputs = processor(images=image, text=TEXT, return_tensors="pt")
    inputs["input_ids"][:, 0] = ID["[DEC]"]
    plain = PlainBlip(made(kind))
    ids = inputs["input_ids"][0].tolist()
    assert (tmp_path / "vocab.txt").read_text().split() == small_models.VOCABULARY
    assert ids == [ID["[DEC]"], *(ID[word] for word in TEXT.split()), ID["[SEP]"]]
    wanted = plain.words(ids, plain.image(inputs["pixel_values"][0]))
    assert close(model(**inputs).logits[0], wanted)
    written = model.generate(pixel_values=inputs["pixel_values"], max_new_tokens=5, min_length=0)[0].tolist()
    said = [ID["[DEC]"]]
    while said[-1] != ID["[SEP]"] and len(said) < len(written):
        said.append(int(plain.words(said, plain.image(inputs["pixel_values"][0]))[-1].argmax()))
    assert written == said


@torch.no_grad()
@pytest.mark.parametrize("kind", ["retrieval", "pretraining"])
def test_transformers_matches_alike(kind: str, saved: Callable[[str], tuple[Path, Path]], image: Image.Image):
    model, processor = load(kind, saved(kind)[1])
    inputs = processor(images=image, text=TEXT, return_tensors="pt")
    plain = PlainBlip(made(kind))
    seen, ids = plain.image(inputs["pixel_values"][0]), inputs["input_ids"][0].tolist()
    assert ids[0] == ID["[CLS]"]
    assert close(model(**inputs, use_itm_head=False).itm_score[0, 0], plain.cosine(ids, seen))
    inputs["input_ids"][:, 0] = processor.tokenizer.convert_tokens_to_ids("[ENC]")
    assert close(model(**inputs).itm_score[0], plain.match([ID["[ENC]"], *ids[1:]], seen))


@torch.no_grad()
def test_transformers_answers_alike(saved: Callable[[str], tuple[Path, Path]], image: Image.Image):
    model, processor = load("questions", saved("questions")[1])
    inputs = processor(images=image, text="is that a cat", return_tensors="pt")
    inputs["input_ids"][:, 0] = ID["[ENC]"]
    answer = [ID["[DEC]"], ID["red"], ID["[SEP]"]]
    plain = PlainBlip(made("questions"))
    seen = plain.image(inputs["pixel_values"][0])
    asked = plain.text("text_encoder", inputs["input_ids"][0].tolist(), seen, causal=False)
    wanted = cross_entropy(plain.words(answer, asked)[:-1], torch.tensor(answer[1:]), label_smoothing=0.1)
    assert close(model(**inputs, labels=torch.tensor([answer])).loss, wanted)
    written = model.generate(**inputs, max_new_tokens=4)[0].tolist()
    said = [ID["[DEC]"]]
    while said[-1] != ID["[SEP]"] and len(said) < len(written):
        said.append(int(plain.words(said, asked)[-1].argmax()))
    assert written == said


def test_the_configuration_says_what_the_defaults_would_not(saved: Callable[[str], tuple[Path, Path]]):
    config = json.loads((saved("pretraining")[1] / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    assert config["architectures"] == ["BlipForImageTextRetrieval", "BlipForConditionalGeneration"]
    assert config["model_type"] == "blip"
    assert config["image_text_hidden_size"] == SIZES.projection
    assert (vision["layer_norm_eps"], text["layer_norm_eps"]) == (1e-6, 1e-12)
    assert (vision["num_attention_heads"], text["num_attention_heads"]) == (2, 3)
    assert (text["hidden_dropout_prob"], text["attention_probs_dropout_prob"]) == (0.1, 0.1)
    assert (config["label_smoothing"], text["label_smoothing"]) == (0.1, 0.1)
    marks = {f"{name}_token_id": ID[mark] for name, mark in {"bos": "[DEC]", "sep": "[SEP]", "pad": "[PAD]"}.items()}
    assert marks.items() <= text.items()
    pictures = json.loads((saved("pretraining")[1] / "preprocessor_config.json").read_text())
    assert pictures["size"] == {"height": 32, "width": 32}
    assert pictures["resample"] == Image.Resampling.BICUBIC
    assert pictures["image_mean"] == [0.48145466, 0.4578275, 0.40821073]
    assert pictures["image_std"] == [0.26862954, 0.26130258, 0.27577711]


def test_the_published_tokenizer_is_given_both_marks(tmp_path: Path, tokenizer: BertTokenizer):
    """Published folders' tokenizers list neither; the numbers are those behind BERT's own."""
    BertTokenizer(
        vocab={word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"])}
    ).save_pretrained(str(tmp_path))
    given = load_blip_tokenizer(str(tmp_path), None, KEY)
    assert given.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [len(given) - 2, len(given) - 1]
    assert given("a b")["input_ids"][0] == given.cls_token_id
    assert tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [ID["[DEC]"], ID["[ENC]"]]


def test_a_pretrained_folder_is_captioner_and_matcher(
    saved: Callable[[str], tuple[Path, Path]], image: Image.Image, tokenizer: BertTokenizer, tmp_path: Path
):
    folder = saved("pretraining")[1]
    name = ModelName("caption.model", str(folder))
    assert {"captioner", "filter", "ranker"} <= check(name, "captioner").loaders.keys()
    scorer = load_scorer(ModelName("filter.model", str(folder)), "filter", "float32", CPU)
    plain = PlainBlip(made("pretraining"))
    pixels = scorer.preprocess(image)
    ids = [ID["[ENC]"], *(ID[word] for word in TEXT.split()), ID["[SEP]"]]
    wanted = plain.match(ids, plain.image(pixels)).softmax(0)[1]
    assert scorer.score(pixels[None], [[TEXT]])[0][0] == pytest.approx(float(wanted), abs=1e-5)

    captioner = load_captioner(name, "a picture of ", Sampling(1.0, 1, 1.0, 1.0, 4, 0), "float32", CPU)
    caption = captioner.caption(pixels[None], np.zeros((1, 1, 4)))[0]
    assert caption is not None
    said = [ID["[DEC]"], ID["a"], ID["picture"], ID["of"]]
    logprob = 0.0
    for _ in range(4):
        told = plain.words(said, plain.image(pixels))[-1].log_softmax(0)
        logprob += float(told.max())
        said.append(int(told.argmax()))
        if said[-1] == ID["[SEP]"]:
            break
    assert caption[0].logprob == pytest.approx(logprob, abs=1e-3)


def test_an_epsilon_of_a_folder_of_the_hub_is_kept(
    saved: Callable[[str], tuple[Path, Path]], image: Image.Image, tokenizer: BertTokenizer, tmp_path: Path
):
    """The hub's folders were converted without BLIP's 1e-6; what is read of them is what they compute."""
    document = saved("retrieval")[1]
    model, _ = load("retrieval", document)
    model.config.vision_config.layer_norm_eps = 0.25
    model.config.text_config.hidden_dropout_prob = 0.0
    model.save_pretrained(tmp_path / "hub")
    for part in (tokenizer, AutoProcessor.from_pretrained(document)):
        part.save_pretrained(tmp_path / "hub")
    read = read_blip(str(tmp_path / "hub"), None, KEY)
    assert (read.description.vision.epsilon, read.description.text.dropout) == (0.25, 0.0)
    write_folder(read.state, read.description, tokenizer, tmp_path / "again")
    model, processor = load("retrieval", tmp_path / "again")
    inputs = processor(images=image, text=TEXT, return_tensors="pt")
    with torch.no_grad():
        found = model.vision_model(inputs["pixel_values"])[0][0]
    assert close(found, PlainBlip(made("retrieval"), epsilon=0.25).image(inputs["pixel_values"][0]))


def test_another_image_size_changes_the_positions_alone(
    saved: Callable[[str], tuple[Path, Path]], tokenizer: BertTokenizer, tmp_path: Path
):
    """As transformers interpolates the positions itself, when it is asked to."""
    file, folder = saved("retrieval")
    read = read_blip(str(file), None, KEY)
    state, description = resize(read.state, read.description, 56, "finetune.image_size")
    assert description.vision.image_size == 56
    changed = {name for name in state if not torch.equal(state[name], read.state[name])}
    assert changed == {"visual_encoder.pos_embed", "visual_encoder_m.pos_embed"}
    assert torch.equal(state["visual_encoder.pos_embed"][:, 0], read.state["visual_encoder.pos_embed"][:, 0])
    write_folder(state, description, tokenizer, tmp_path / "larger")
    pixels = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        found = load("retrieval", tmp_path / "larger")[0].vision_model(pixels)[0]
        wanted = load("retrieval", folder)[0].vision_model(pixels, interpolate_pos_encoding=True)[0]
    assert torch.allclose(found, wanted, atol=1e-5)
    with pytest.raises(UserError, match=r"finetune\.image_size: 60 pixels cannot be cut into patches of 8"):
        resize(read.state, read.description, 60, "finetune.image_size")


def test_a_file_has_no_revision(saved: Callable[[str], tuple[Path, Path]]):
    with pytest.raises(UserError, match=r"captioner\.init_revision: '.*' is a local file, which has no revisions"):
        read_blip(str(saved("captioning")[0]), "main", KEY)


class Harm:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return exec, ("raise SystemExit('code of the file ran')",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no archive", "UnpicklingError"),
        ({"model": made("retrieval"), "harm": Harm()}, "UnpicklingError"),
        ({"model": {"weight": torch.zeros(2)}}, "has no 'visual_encoder.patch_embed.proj.weight' under 'model'"),
        ([1, 2], "under 'model'"),
        ({"model": plain_blip.captioning(SIZES._replace(text=96))}, "how many heads its width of 96 has"),
    ],
)
def test_a_file_of_another_kind_is_told_in_a_line(content: object, told: str, tmp_path: Path):
    file = tmp_path / "some.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(UserError, match=told) as error:
        read_blip(str(file), None, KEY)
    assert str(error.value).startswith(f"{KEY}: the file '{file}' cannot be read as a BLIP (")
    assert "\n" not in str(error.value)


def test_a_folder_of_another_kind_is_told_in_a_line(tmp_path: Path, saved: Callable[[str], tuple[Path, Path]]):
    cases = [
        ({}, "holds no model of transformers, not a BLIP"),
        ({"model_type": "bert"}, "holds a model of type 'bert', not a BLIP"),
        ({"model_type": "blip", "architectures": ["BlipModel"]}, "names BlipModel in its config.json"),
    ]
    for config, told in cases:
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match=told):
            read_blip(str(tmp_path), None, KEY)
    whole = saved("retrieval")[1]
    found: BlipCheckpoint = read_blip(str(whole), None, KEY)
    assert found.tokenizer == str(whole)
    for part in whole.iterdir():
        (tmp_path / part.name).write_bytes(part.read_bytes())
    document = json.loads((whole / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | {"architectures": ["BlipForQuestionAnswering"]}))
    with pytest.raises(UserError, match=r"is not a BlipForQuestionAnswering: .* of the weights of one are not in it"):
        read_blip(str(tmp_path), None, KEY)
