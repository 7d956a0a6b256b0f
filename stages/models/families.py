"""Every family of models, and what a name or a folder holds, found out by looking into its configuration.

A further family is a folder and a line below.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from stages.contract import path_of
from stages.errors import UserError
from stages.models.blip.kind import kind as blip
from stages.models.blip2.kind import SECOND_STAGE
from stages.models.blip2.kind import kind as blip2
from stages.models.blip2.kind import trained as second_stage
from stages.models.clip.kind import kind as open_clip
from stages.models.dual.kind import clip, siglip
from stages.models.family import Answerer, Captioner, Config, DualEncoder, Kind, ModelName, PairScorer, Role
from stages.models.language.kind import kind as language
from stages.models.qformer.kind import MODEL_TYPE as QFORMER
from stages.models.qformer.kind import kind as qformer
from stages.models.timm.kind import dinov2
from stages.models.timm.kind import kind as timm

if TYPE_CHECKING:
    import torch

    from stages.contract import Dtype
    from stages.models.blip.answering import Answering
    from stages.models.blip.sampling import Sampling
    from stages.models.family import Retriever
    from stages.models.language.model import LanguageModel
    from stages.models.vision.tower import View, VisionTower

FAMILIES: Final[dict[str, Callable[[Config], Kind]]] = {
    "open_clip": open_clip,
    "timm": timm,
    "blip": blip,
    "blip-2": blip2,
    "clip": clip,
    "siglip": siglip,
    "dinov2": dinov2,
    "dinov2_with_registers": dinov2,
    QFORMER: qformer,
    SECOND_STAGE: second_stage,
}
"""By `model_type` of transformers' config.json; open_clip and timm, whose files have none, by their own names."""

WANTED: Final[dict[Role, str]] = {
    "captioner": "a captioner, such as 'Salesforce/blip-image-captioning-large'",
    "ranker": "a model that compares images with texts, such as 'ViT-L-14-quickgelu' with pretrained: openai",
    "filter": "a model that gives the probability of a match, such as 'Salesforce/blip-itm-large-coco'",
    "tower": "a transformer that reads images, such as 'ViT-L-14-quickgelu' with pretrained: openai",
    "retriever": "a model of matching, such as 'Salesforce/blip-itm-large-coco'",
    "answerer": "a model that answers questions, such as 'Salesforce/blip-vqa-base'",
    "encoder": "a model that embeds images and texts, such as 'ViT-L-14-quickgelu' with pretrained: openai",
    "llm": "a language model, such as 'facebook/opt-2.7b' or 'google/flan-t5-xl'",
}


def describe(name: ModelName) -> Kind:
    """What a model is; of a hub model the configuration is downloaded, no weights.

    Raises:
        UserError: there is no such model, or nothing says what it is.
    """
    if (config := _architecture(name)) is not None:
        return open_clip(config)
    source = name.source()
    if (config := source.config("open_clip_config.json")) is not None:
        return open_clip(config.get("model_cfg") or {})
    if (config := source.config("config.json")) is not None:
        return _of_config(config)
    if source.is_folder:
        raise UserError(
            f"{name.key}: '{name.model}' has no config.json and no open_clip_config.json, which say what a model is; "
            "name the folder that it was saved to, or, for open_clip's weights alone, the architecture here and the "
            "file as `pretrained`"
        )
    raise source.error("a model", FileNotFoundError("no config.json and no open_clip_config.json"))


def is_architecture(name: ModelName) -> bool:
    """Whether a name is that of an architecture of open_clip."""
    return _architecture(name) is not None


def is_at_hand(name: ModelName) -> bool:
    """Whether what a model is can be told without asking the hub."""
    path = path_of(name.model)
    return path.is_dir() if path else _architecture(name) is not None


def pinned(name: ModelName) -> ModelName:
    """The same model, with the commit of the hub that its name stands for now.

    Raises:
        UserError: there is no such model, or the hub cannot be asked.
    """
    if is_architecture(name) or name.revision is not None:
        return name
    return replace(name, revision=name.source().commit)


def check(name: ModelName, role: Role) -> Kind:
    """See, before any weights are loaded, that a model is of a kind that can do something.

    Raises:
        UserError: there is no such model, or it is of another kind; the line says which, and what to write instead.
    """
    kind = describe(name)
    if role not in kind.loaders:
        because = f", {kind.because[role]}" if role in kind.because else ""
        instead = kind.instead.get(role, f"name {WANTED[role]}")
        raise UserError(f"{name.key}: '{name.model}' is {kind.words}{because}; {instead}")
    if name.pretrained is not None and not kind.takes_weights:
        raise UserError(
            f"{name.weights_key}: '{name.pretrained}' names weights for open_clip, but {name.key} "
            f"'{name.model}' is {kind.words}, which has its own; leave it out"
        )
    return kind


def load_captioner(
    name: ModelName, prompt: str | None, sampling: Sampling, dtype: Dtype, device: torch.device
) -> Captioner:
    """Load a captioner; without a prompt it has its own.

    Raises:
        UserError: there is no such model, it is broken or none, or it cannot write captions of that length.
    """
    captioner: Captioner = _loader(name, "captioner")(name, prompt, sampling, dtype, device)
    return captioner


def load_scorer(name: ModelName, role: Literal["ranker", "filter"], dtype: Dtype, device: torch.device) -> PairScorer:
    """Load a model of image-text pairs.

    Raises:
        UserError: there is no such model, it is broken or of another kind.
    """
    scorer: PairScorer = _loader(name, role)(name, dtype, device)
    return scorer


def load_tower(name: ModelName, dtype: Dtype, device: torch.device) -> tuple[VisionTower, View]:
    """Load an image tower, and how it wants its images.

    Raises:
        UserError: there is no such model, it is broken, or it has no tower of a kind that a Q-Former reads.
    """
    tower: tuple[VisionTower, View] = _loader(name, "tower")(name, dtype, device)
    return tower


def load_retriever(name: ModelName, dtype: Dtype, device: torch.device) -> Retriever:
    """Load a model of matching that embeds images and texts as well.

    Raises:
        UserError: there is no such model, it is broken or of another kind.
    """
    retriever: Retriever = _loader(name, "retriever")(name, dtype, device)
    return retriever


def load_answerer(name: ModelName, how: Answering, dtype: Dtype, device: torch.device) -> Answerer:
    """Load a model that answers questions.

    Raises:
        UserError: there is no such model, it is broken or of another kind, or there are no answers to choose from.
    """
    answerer: Answerer = _loader(name, "answerer")(name, how, dtype, device)
    return answerer


def load_language_model(name: ModelName, dtype: Dtype, device: torch.device) -> LanguageModel:
    """Load a language model, frozen.

    Raises:
        UserError: there is no such model, it is broken or of another kind.
    """
    model: LanguageModel = _loader(name, "llm")(name, dtype, device)
    return model


def load_encoder(name: ModelName, dtype: Dtype, device: torch.device) -> DualEncoder | None:
    """Load the model that an image tower belongs to, with its text tower; None for a model of images alone.

    Raises:
        UserError: there is no such model, or it is broken.
    """
    if "encoder" not in describe(name).loaders:
        return None
    encoder: DualEncoder = _loader(name, "encoder")(name, dtype, device)
    return encoder


def _loader(name: ModelName, role: Role) -> Callable[..., Any]:
    module, function = check(name, role).loaders[role].split(":")
    loader: Callable[..., Any] = getattr(import_module(module), function)
    return loader


def _of_config(config: Config) -> Kind:
    """What transformers' config.json says, or timm's."""
    if "architecture" in config:
        return timm(config)
    model_type = str(config.get("model_type", ""))
    if model_type in FAMILIES:
        return FAMILIES[model_type](config)
    if (found := language(config)) is not None:
        return found
    classes = config.get("architectures") or []
    named = f" ({classes[0]})" if classes else ""
    return Kind(f"a model of transformers of type '{model_type}'{named}, which is not known here")


def _architecture(name: ModelName) -> Config | None:
    """The configuration of an architecture of open_clip; None for another name."""
    if path_of(name.model):
        return None
    path = _architectures() / f"{name.model}.json"
    found: Config | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


@cache
def _architectures() -> Path:
    """Where open_clip keeps them; asked without importing it, and torch with it."""
    spec = find_spec("open_clip")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "model_configs"
