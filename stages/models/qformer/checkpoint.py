"""What a Q-Former can begin with: BERT, or BLIP-2's first stage as transformers or LAVIS saves it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertForMaskedLM, Blip2ForImageTextRetrieval, PretrainedConfig
from transformers.utils.hub import cached_file

from stages.errors import UserError
from stages.models.family import CONFIG_FILE, ModelName
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.qformer.folder import named
from stages.models.qformer.kind import MODEL_TYPE
from stages.models.qformer.model import load_qformer
from stages.models.qformer.names import from_bert, from_lavis, from_transformers
from stages.models.source import Source, find_file, find_source
from stages.tables import WEIGHTS_FILE

HEADS_FILE = "pretraining_heads.safetensors"
"""Beside a `Blip2ForImageTextRetrieval` that was exported here: what that class has no place for, under our names."""
KIND = "a checkpoint that a Q-Former can begin with (BERT, or Blip2ForImageTextRetrieval)"
LAVIS_KIND = "a first-stage checkpoint of LAVIS"


@dataclass(frozen=True)
class Checkpoint:
    """Weights under our names, float32, on the CPU; what the checkpoint lacks is absent."""

    state: Mapping[str, Tensor]
    heads: int | None
    """Attention heads, which no weight shows; None where the checkpoint does not say."""
    tower: ModelName | None = None
    """The frozen image tower that it was trained on; None where the checkpoint does not say."""


def read_checkpoint(name: str, revision: str | None, key: str) -> Checkpoint:
    """Read a checkpoint to begin with.

    Args:
        name: a hub name, a folder (that `pretrain` has left, too), or a file as LAVIS saves them (`.pth`).
        revision: the hub commit; None for what is local.
        key: the manifest key that names it, for messages.

    Raises:
        UserError: there is no such checkpoint, it is broken, or it is neither BERT nor BLIP-2's first stage.
    """
    if (file := find_file(name, revision, key)) is not None:
        return _read_lavis(file)
    source = find_source(name, revision, key)
    try:
        with quiet():
            config, _ = PretrainedConfig.get_config_dict(source.location, revision=source.revision)
            kind = str(config.get("model_type", ""))
            found = _READERS[kind](source) if kind in _READERS else None
    except LOADING_ERRORS as error:
        raise source.error(KIND, error) from None
    if found is None:
        holds = f"a model of type '{kind}'" if "model_type" in config else "no config.json of transformers"
        raise UserError(f"{key}: '{name}' holds {holds}, not {KIND}")
    return _whole(found, source)


def _read_bert(source: Source) -> Checkpoint:
    state, config = _load(BertForMaskedLM, source)
    return Checkpoint(from_bert(state), config.num_attention_heads)


def _read_blip2(source: Source) -> Checkpoint:
    state, config = _load(Blip2ForImageTextRetrieval, source)
    heads = cached_file(
        source.location, HEADS_FILE, revision=source.revision, _raise_exceptions_for_missing_entries=False
    )
    rest = load_file(heads) if heads else {}
    tower = ModelName(source.key, source.location, revision=source.revision)
    return Checkpoint(from_transformers(state) | rest, config.qformer_config.num_attention_heads, tower)


def _read_own(source: Source) -> Checkpoint:
    config = source.config(CONFIG_FILE)
    assert config is not None
    model = load_qformer(Path(source.location) / WEIGHTS_FILE)
    return Checkpoint(model.state_dict(), model.config.heads, named(config["tower"], source.key))


_READERS = {"bert": _read_bert, "blip-2": _read_blip2, MODEL_TYPE: _read_own}


def _load(model_class: Any, source: Source) -> tuple[dict[str, Tensor], Any]:
    """The weights that the checkpoint really has (transformers draws the others), and its configuration."""
    model, info = model_class.from_pretrained(
        source.location, revision=source.revision or "main", dtype=torch.float32, output_loading_info=True
    )
    missing = set(info["missing_keys"])
    return {name: value for name, value in model.state_dict().items() if name not in missing}, model.config


def _read_lavis(source: Source) -> Checkpoint:
    try:
        saved: Any = torch.load(source.location, map_location="cpu", weights_only=True)
    except (*LOADING_ERRORS, EOFError, ImportError, pickle.UnpicklingError) as error:
        raise _broken(source, type(error).__name__) from None
    named = saved.get("model", saved) if isinstance(saved, dict) else {}
    state = from_lavis({name: value for name, value in named.items() if isinstance(value, Tensor)})
    if "queries" not in state:
        raise _broken(source, "it has no 'query_tokens' under 'model'")
    return _whole(Checkpoint({name: value.float() for name, value in state.items()}, None), source)


def _whole(found: Checkpoint, source: Source) -> Checkpoint:
    """Refuse BLIP-2's second stage, which keeps of the Q-Former what concerns images alone."""
    if "words.weight" not in found.state:
        raise UserError(
            f"{source.key}: '{source.location}' lacks the word embeddings of a Q-Former; a model of BLIP-2's second "
            f"stage has none, give one of the first (such as 'Salesforce/blip2-itm-vit-g') or BERT"
        )
    return found


def _broken(source: Source, reason: str) -> UserError:
    return UserError(f"{source.key}: the file '{source.location}' cannot be loaded as {LAVIS_KIND} ({reason})")
