"""BLIP's weights under the names of the published `.pth` files and under those of transformers' BLIP classes.

Pure functions of state dicts: no value changes, so a way there and back gives the same bits. Both sides call the text
stacks and the heads the same; the image tower is called otherwise, and slow copies, queues and the temperature of
training have no place in transformers.

Sources: BLIP, `models/{vit,med,blip_pretrain,blip_retrieval,blip_vqa}.py`; `transformers/models/blip/modeling_blip.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

State = Mapping[str, Tensor]

RETRIEVAL: Final = "BlipForImageTextRetrieval"
CAPTIONING: Final = "BlipForConditionalGeneration"
QUESTIONS: Final = "BlipForQuestionAnswering"

PARTS: Final[dict[str, frozenset[str]]] = {
    RETRIEVAL: frozenset({"visual_encoder", "text_encoder", "vision_proj", "text_proj", "itm_head"}),
    CAPTIONING: frozenset({"visual_encoder", "text_decoder"}),
    QUESTIONS: frozenset({"visual_encoder", "text_encoder", "text_decoder"}),
}
"""What each class of transformers consists of, under the published names."""

_TOWER = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "blocks.#.norm1": "encoder.layers.#.layer_norm1",
    "blocks.#.norm2": "encoder.layers.#.layer_norm2",
    "blocks.#.attn.qkv": "encoder.layers.#.self_attn.qkv",
    "blocks.#.attn.proj": "encoder.layers.#.self_attn.projection",
    "blocks.#.mlp.fc1": "encoder.layers.#.mlp.fc1",
    "blocks.#.mlp.fc2": "encoder.layers.#.mlp.fc2",
    "norm": "post_layernorm",
}
"""Modules and parameters of the image tower, below `visual_encoder` and `vision_model`; # is a block's number."""
_PUBLISHED, _TRANSFORMERS = "visual_encoder.", "vision_model."
_SPLIT = re.compile(r"(?P<module>.*?)(?P<leaf>\.weight|\.bias)?")

WORDS = "embeddings.word_embeddings.weight"
_POSITIONS, _POSITION_IDS = "embeddings.position_embeddings.weight", "embeddings.position_ids"
_HEAD = "text_decoder.cls.predictions"
_OF_HEAD = {f"{_HEAD}.decoder.weight": f"text_decoder.bert.{WORDS}", f"{_HEAD}.decoder.bias": f"{_HEAD}.bias"}
"""What the head that says words has a second name for, and the first one."""


def classes_of(state: State) -> list[str]:
    """The classes of transformers that a model is, the most of it first; a pretrained one is two.

    What can match images with texts and has a decoder says captions with it; what cannot, answers.
    """
    parts = {name.split(".", 1)[0] for name in state}
    matches, encodes = "itm_head" in parts, "text_encoder" in parts
    asked = [RETRIEVAL] * matches + [QUESTIONS if encodes and not matches else CAPTIONING]
    return [name for name in asked if parts >= PARTS[name]]


def to_transformers(state: State, name: str) -> dict[str, Tensor]:
    """The weights of one of transformers' classes; what it has no place for is left out.

    Args:
        state: under published names, ties under all of theirs (`with_ties`).
        name: the class.
    """
    return {theirs: state[ours] for ours, theirs in places(state, name).items()}


def from_transformers(state: State) -> dict[str, Tensor]:
    """The weights of any of transformers' classes under the published names."""
    tower = {theirs: ours for ours, theirs in _TOWER.items()}
    return {_renamed(name, tower, _TRANSFORMERS, _PUBLISHED): value for name, value in state.items()}


def places(state: State, name: str) -> dict[str, str]:
    """Their name of each weight that a class has a place for, by the published one."""
    parts = PARTS[name]
    kept = (ours for ours in state if ours.split(".", 1)[0] in parts and not ours.endswith(_POSITION_IDS))
    return {ours: _renamed(ours, _TOWER, _PUBLISHED, _TRANSFORMERS) for ours in kept}


def only(state: State, name: str) -> dict[str, Tensor]:
    """The part of a model that one class has a place for, such as the captioner of a pretrained one.

    Args:
        state: under published names, ties under all of theirs.
        name: the class.
    """
    return {ours: state[ours] for ours in places(state, name)}


def with_ties(state: State) -> dict[str, Tensor]:
    """A model's weights under all their names: what a decoder lacks is its encoder's, what its head lacks the words'.

    Args:
        state: of one name of every weight at least.
    """
    whole = dict(state)
    if any(name.startswith("text_decoder.") for name in state):
        for name in state:
            if name.startswith("text_encoder."):
                whole.setdefault(_twin(name), state[name])
        for second, first in _OF_HEAD.items():
            if first in whole:
                whole.setdefault(second, whole[first])
    return whole


def without_ties(state: State) -> dict[str, Tensor]:
    """What `with_ties` does not give back by itself."""
    twins = {_twin(name): name for name in state if name.startswith("text_encoder.")}
    decoder = [name for name in state if name.startswith("text_decoder.")]
    first = {name: twins.get(name) or _OF_HEAD.get(name) for name in decoder}
    said_twice = {name for name, other in first.items() if other in state and _same(state[name], state[str(other)])}
    return {name: value for name, value in state.items() if name not in said_twice}


def complete(state: State) -> dict[str, Tensor]:
    """A model as the published files hold it: ties under all names, the positions' numbers beside every text stack.

    Args:
        state: of one name of every weight at least.
    """
    whole = with_ties(state)
    numbers = {
        name.removesuffix(_POSITIONS) + _POSITION_IDS: torch.arange(len(table))[None]
        for name, table in whole.items()
        if name.endswith(_POSITIONS)
    }
    return numbers | whole


def without_position_ids(state: State) -> dict[str, Tensor]:
    """Without the positions' numbers, which are no weights."""
    return {name: value for name, value in state.items() if not name.endswith(_POSITION_IDS)}


def _renamed(name: str, modules: Mapping[str, str], before: str, after: str) -> str:
    if not name.startswith(before):
        return name
    found = _SPLIT.fullmatch(name.removeprefix(before))
    assert found is not None  # it matches everything
    number = re.search(r"\.(\d+)\.", found["module"])
    module = modules.get(re.sub(r"\.\d+\.", ".#.", found["module"], count=1))
    if module is None:
        return name
    return after + (module.replace("#", number[1]) if number else module) + (found["leaf"] or "")


def _twin(name: str) -> str:
    return "text_decoder.bert." + name.removeprefix("text_encoder.")


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
