"""Reads BLIP, wherever it is from, under the names of the published `.pth` files."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, Final

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import BlipConfig, BlipImageProcessor, PretrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from stages.errors import UserError
from stages.models.blip.description import Description, Untold, describe
from stages.models.blip.folder import REST_FILE
from stages.models.blip.names import PARTS, State, complete, from_transformers, to_transformers
from stages.models.blip.published import DESCRIPTION
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.parts import check_weights
from stages.models.source import Source, find_file, find_source

KIND: Final = "a BLIP"
ADVICE: Final = "give a `.pth` file of BLIP, or a folder or hub name such as 'Salesforce/blip-itm-base-coco'"


@dataclass(frozen=True)
class BlipCheckpoint:
    """What was read."""

    state: dict[str, Tensor]
    """On the CPU, in the number format that they are kept in; `names.complete`."""
    description: Description
    tokenizer: str | None
    """The folder or hub name that has one; None for a `.pth` file, which goes with that of `bert-base-uncased`."""


def read_blip(name: str, revision: str | None, key: str) -> BlipCheckpoint:
    """Read a published or trained BLIP.

    Args:
        name: a `.pth` file as BLIP's trainers save them; or a hub name or folder, of transformers or ours.
        revision: the hub commit; None for what is local.
        key: the manifest key that names it, for messages.

    Raises:
        UserError: there is no such model, it is broken, or it is no BLIP.
    """
    if (file := find_file(name, revision, key)) is not None:
        return _read_file(file)
    source = find_source(name, revision, key)
    try:
        with quiet():
            config, _ = PretrainedConfig.get_config_dict(source.location, revision=source.revision)
    except LOADING_ERRORS as error:
        raise source.error(KIND, error) from None
    if config.get("model_type") != "blip":
        kind = f"a model of type '{config['model_type']}'" if "model_type" in config else "no model of transformers"
        raise UserError(f"{key}: '{name}' holds {kind}, not {KIND}; {ADVICE}")
    try:
        with quiet():
            state, read = read_folder(source)
            processor: Any = BlipImageProcessor.from_pretrained(source.location, revision=source.revision or "main")
    except LOADING_ERRORS as error:
        raise source.error(KIND, error) from None
    halves: tuple[Any, Any] = (read.vision_config, read.text_config)
    if others := {half.hidden_act for half in halves} - {"gelu"}:
        raise _broken(source, f"its activation is {min(others)}, BLIP's is gelu")
    return BlipCheckpoint(state, _describe(state, _untold(*halves, processor), source), source.location)


def read_folder(source: Source, dtype: torch.dtype | str = "auto") -> tuple[dict[str, Tensor], BlipConfig]:
    """A folder's weights under published names, and its configuration.

    Raises:
        UserError: it is of another class, or lacks weights.
        OSError, ValueError: transformers cannot load it.
    """
    place, revision = source.location, source.revision or "main"
    config = BlipConfig.from_pretrained(place, revision=revision)
    classes = config.architectures or []
    if not classes or classes[0] not in PARTS:
        named = classes[0] if classes else "no class"
        raise UserError(f"{source.key}: '{place}' names {named} in its config.json, not one of {', '.join(PARTS)}")
    rest = cached_file(place, REST_FILE, revision=revision, _raise_exceptions_for_missing_entries=False)
    state = load_file(rest) if rest else {}
    if not _is_whole(state, classes[0]):
        model, info = load_first(getattr(transformers, classes[0]), source, config, dtype)
        check_weights(source, info, f"a {classes[0]}")
        state |= from_transformers(model.state_dict())
    return complete(state), config


def load_class(model_class: Any, source: Source, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """A model of a folder, and what transformers says of its weights: it fills in those that are not there or unfit.

    Of our own folders that are two classes in one, either may be wanted.
    """
    config = model_class.config_class.from_pretrained(source.location, revision=source.revision or "main")
    if model_class.__name__ not in (config.architectures or [])[1:]:
        return load_first(model_class, source, config, dtype)
    state, _ = read_folder(source, dtype)
    own = to_transformers(state, model_class.__name__)
    loaded: tuple[Any, dict[str, Any]] = model_class.from_pretrained(
        None, config=config, state_dict=own, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
    )
    return loaded


def load_first(
    model_class: Any, source: Source, config: PretrainedConfig, dtype: torch.dtype | str
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The same of a class whose weights transformers finds by itself."""
    loaded: tuple[PreTrainedModel, dict[str, Any]] = model_class.from_pretrained(
        source.location,
        config=config,
        revision=source.revision or "main",
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    return loaded


def _is_whole(rest: State, name: str) -> bool:
    """Whether nothing is left for transformers' own file: it has no place for such a model."""
    return {held.split(".", 1)[0] for held in rest} >= PARTS[name]


def _untold(vision: Any, text: Any, processor: Any) -> Untold:
    """What a folder says that its weights do not."""
    return {
        "vision": {
            "heads": vision.num_attention_heads,
            "epsilon": vision.layer_norm_eps,
            "mean": tuple(processor.image_mean),
            "std": tuple(processor.image_std),
        },
        "text": {
            "heads": text.num_attention_heads,
            "epsilon": text.layer_norm_eps,
            "dropout": text.hidden_dropout_prob,
        },
    }


def _read_file(source: Source) -> BlipCheckpoint:
    try:
        saved: Any = torch.load(source.location, map_location="cpu", weights_only=True)
    except (*LOADING_ERRORS, EOFError, pickle.UnpicklingError) as error:
        raise _broken(source, type(error).__name__) from None
    named = saved.get("model", saved) if isinstance(saved, dict) else {}
    named = named if isinstance(named, dict) else {}
    state = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    whole = complete(state)
    return BlipCheckpoint(whole, _describe(whole, _written(saved), source), None)


def _written(saved: Any) -> Untold:
    """What a file of ours says of its weights; nothing of another."""
    found = saved.get(DESCRIPTION) if isinstance(saved, dict) else None
    return found if isinstance(found, dict) and {"vision", "text"} <= found.keys() else {}


def _describe(state: State, untold: Untold, source: Source) -> Description:
    try:
        return describe(state, untold)
    except KeyError as error:
        raise _broken(source, f"it has no {error} under 'model'") from None
    except (ValueError, TypeError) as error:
        raise _broken(source, str(error)) from None


def _broken(source: Source, reason: str) -> UserError:
    what = "folder" if source.is_folder else "file"
    return UserError(f"{source.key}: the {what} '{source.location}' cannot be read as {KIND} ({reason}); {ADVICE}")
