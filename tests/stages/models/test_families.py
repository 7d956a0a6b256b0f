"""What a model is, told from its configuration alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import UserError
from stages.models.families import WANTED, check, describe
from stages.models.family import ModelName, Role

BLIP2 = {"model_type": "blip-2", "num_query_tokens": 32, "vision_config": {"image_size": 224}, "qformer_config": {}}
CONFIGS: dict[str, dict[str, Any]] = {
    "captioner": {"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]},
    "itm": {"model_type": "blip", "architectures": ["BlipForImageTextRetrieval"]},
    "blip": {"model_type": "blip"},
    "vqa": {"model_type": "blip", "architectures": ["BlipForQuestionAnswering"]},
    "blip2-itm": BLIP2 | {"architectures": ["Blip2ForImageTextRetrieval"]},
    "blip2-opt": BLIP2 | {"architectures": ["Blip2ForConditionalGeneration"]},
    "clip": {"model_type": "clip", "vision_config": {"hidden_size": 768, "patch_size": 32, "image_size": 224}},
    "siglip": {"model_type": "siglip", "vision_config": {"image_size": 384}},
    "opt": {"model_type": "opt", "architectures": ["OPTForCausalLM"]},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
    "flan-t5": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
    "bert": {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
    "q-former": {"model_type": "capfilt-qformer"},
    "aligned": {"model_type": "capfilt-blip-2"},
    "llava": {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]},
    "dinov2 of timm": {"architecture": "vit_small_patch14_dinov2", "num_features": 384},
    "convnext of timm": {"architecture": "convnext_tiny", "num_features": 768},
    "dinov2": {"model_type": "dinov2", "hidden_size": 768},
    "open_clip": {"model_cfg": {"embed_dim": 512, "vision_cfg": {"image_size": 224, "layers": 12}, "text_cfg": {}}},
    "SigLIP of open_clip": {"model_cfg": {"vision_cfg": {}, "text_cfg": {}, "init_logit_bias": -10}},
    "ResNet of open_clip": {"model_cfg": {"vision_cfg": {"layers": [3, 4, 6, 3]}, "text_cfg": {}}},
    "FastViT of open_clip": {"model_cfg": {"vision_cfg": {"timm_model_name": "fastvit_mci1"}, "text_cfg": {}}},
}
CAN: dict[str, tuple[str, set[Role]]] = {
    "captioner": ("a BLIP captioner", {"captioner"}),
    "itm": ("a BLIP matching model", {"ranker", "filter", "retriever"}),
    "blip": ("a BLIP model", {"captioner", "ranker", "filter", "retriever"}),
    "vqa": ("a BLIP model that answers questions", {"answerer"}),
    "blip2-itm": ("a BLIP-2 matching model", {"ranker", "filter", "retriever"}),
    "blip2-opt": ("a BLIP-2 captioner", {"captioner"}),
    "aligned": ("a BLIP-2 of the second stage", {"captioner"}),
    "opt": ("a language model (OPTForCausalLM)", {"llm"}),
    "gpt2": ("a language model (GPT2LMHeadModel)", {"llm"}),
    "flan-t5": ("a language model that reads and writes (t5)", {"llm"}),
    "bert": ("a model of transformers of type 'bert' (BertForMaskedLM), which is not known here", set()),
    "q-former": ("a Q-Former of BLIP-2's first stage", set()),
    "clip": ("transformers' CLIP", {"ranker", "encoder"}),
    "siglip": ("transformers' SigLIP", {"ranker", "encoder", "filter"}),
    "llava": (
        "a model of transformers of type 'llava' (LlavaForConditionalGeneration), which is not known here",
        set(),
    ),
    "dinov2 of timm": ("an image model of timm (vit_small_patch14_dinov2)", {"tower"}),
    "convnext of timm": ("an image model of timm (convnext_tiny)", set()),
    "dinov2": ("transformers' DINOv2", set()),
    "open_clip": ("a CLIP model of open_clip", {"ranker", "encoder", "tower"}),
    "SigLIP of open_clip": ("a SigLIP model of open_clip", {"ranker", "encoder", "tower", "filter"}),
    "ResNet of open_clip": ("a CLIP model of open_clip", {"ranker", "encoder"}),
    "FastViT of open_clip": ("a CLIP model of open_clip", {"ranker", "encoder"}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, config in CONFIGS.items():
        (tmp_path / name).mkdir()
        file = "open_clip_config.json" if "model_cfg" in config else "config.json"
        (tmp_path / name / file).write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_folder_holds(folder: Path, name: str) -> None:
    kind = describe(ModelName("filter.model", str(folder / name)))
    assert (kind.words, set(kind.loaders)) == CAN[name]
    for role in WANTED:
        if role in kind.loaders:
            assert check(ModelName("filter.model", str(folder / name)), role) == kind
        else:
            with pytest.raises(UserError, match=r"^filter\.model: '.*' is ") as caught:
                check(ModelName("filter.model", str(folder / name)), role)
            assert kind.words in str(caught.value)
            assert "\n" not in str(caught.value)


def refusal(folder: Path, key: str, role: Role, pretrained: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        check(ModelName(key, str(folder), pretrained), role)
    return str(caught.value).replace(str(folder), "X")


def test_what_is_written_instead(folder: Path) -> None:
    assert refusal(folder / "captioner", "filter.model", "filter") == (
        "filter.model: 'X' is a BLIP captioner; name a model that gives the probability of a match, such as "
        "'Salesforce/blip-itm-large-coco'"
    )
    assert refusal(folder / "clip", "pretrain.model", "tower") == (
        "pretrain.model: 'X' is transformers' CLIP; for OpenAI's weights say 'ViT-B-32-quickgelu', pretrained: openai"
    )
    assert refusal(folder / "open_clip", "filter.model", "filter") == (
        "filter.model: 'X' is a CLIP model of open_clip, whose cosine is no probability (`rank` takes it); name a "
        "model that gives the probability of a match, such as 'Salesforce/blip-itm-large-coco'"
    )
    assert refusal(folder / "FastViT of open_clip", "pretrain.model", "tower") == (
        "pretrain.model: 'X' is a CLIP model of open_clip, whose image tower is a fastvit_mci1, without the tokens "
        "that a Q-Former reads; name a transformer that reads images, such as 'ViT-L-14-quickgelu' with pretrained: "
        "openai"
    )
    assert refusal(folder / "dinov2", "pretrain.model", "tower") == (
        "pretrain.model: 'X' is transformers' DINOv2; say timm's name of it, 'timm/vit_base_patch14_dinov2.lvd142m'"
    )
    assert "'X' is an image model of timm (vit_small_patch14_dinov2), which reads no text" in refusal(
        folder / "dinov2 of timm", "rank.model", "ranker"
    )


def test_weights_beside_a_model_that_has_its_own(folder: Path) -> None:
    assert refusal(folder / "itm", "filter.model", "filter", "openai") == (
        "filter.pretrained: 'openai' names weights for open_clip, but filter.model 'X' is a BLIP matching model, which "
        "has its own; leave it out"
    )


def test_sizes(folder: Path) -> None:
    assert describe(ModelName("rank.model", "ViT-L-14-quickgelu", "openai")).sizes == {
        "image_size": 224,
        "patch_size": 14,
        "width": 1024,
        "layers": 24,
        "embedding": 768,
        "vocabulary": 49408,
        "text_tokens": 77,
    }
    assert describe(ModelName("filter.model", str(folder / "blip2-itm"))).sizes == {"image_size": 224, "queries": 32}


def test_a_folder_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "epoch_3.pt").touch()
    said = refusal(tmp_path, "rank.model", "ranker")
    assert said.startswith("rank.model: 'X' has no config.json and no open_clip_config.json")
    assert said.endswith("the architecture here and the file as `pretrained`")


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_a_configuration_that_is_broken(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    assert refusal(tmp_path, "caption.model", "captioner").startswith("caption.model: config.json of 'X' ")


def test_an_architecture_of_open_clip_that_takes_no_part_in_filtering() -> None:
    name = ModelName("filter.model", "ViT-B-16-SigLIP", "webli")
    assert "filter" in check(name, "filter").loaders
    with pytest.raises(UserError, match=r"^filter\.model: 'RN50' is a CLIP model of open_clip, whose cosine is no"):
        check(ModelName("filter.model", "RN50", "openai"), "filter")
