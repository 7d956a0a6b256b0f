"""Where the weights of a model of open_clip lie: of a built-in architecture, a hub name, or a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import open_clip
from huggingface_hub import snapshot_download
from open_clip.pretrained import get_pretrained_cfg

from stages.contract import path_of
from stages.errors import UserError
from stages.models.family import ModelName
from stages.models.loading import LOADING_ERRORS, quiet
from stages.models.source import Source

KIND: Final = "a CLIP model of open_clip"
_SMALL_FILES = ["*.json", "*.txt", "*.model"]
_SAFE_WEIGHTS, _OLD_WEIGHTS = "open_clip_*.safetensors", "open_clip_*.bin"
_ENDINGS: Final = (".safetensors", ".bin", ".pth", ".pt")
_STANDARD: Final = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"),
    *("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth"),
)
"""What open_clip looks for in a folder, in its order."""


@dataclass(frozen=True)
class Place:
    """Where a model lies."""

    source: Source
    """For messages."""
    asked: str
    """What open_clip is to be asked for."""
    tag: str | None
    """Of an architecture's published weights."""
    file: Path | None
    """Local weights; None for a tag's, which open_clip downloads."""


def locate(name: ModelName) -> Place:
    """Find a model, downloading a hub model.

    Raises:
        UserError: there is no such model, or architecture and weights do not belong together.
    """
    if name.model in open_clip.list_models():
        return _of_architecture(name)
    source = name.source()
    if not source.is_folder and name.pretrained is not None:
        raise _no_architecture(name)
    folder = Path(source.location) if source.is_folder else _download(source)
    return Place(source, f"local-dir:{folder}", None, _in_folder(name, folder))


def _of_architecture(name: ModelName) -> Place:
    source = Source(name.key, name.model, None, is_folder=False)
    if name.revision is not None:
        raise UserError(
            f"{name.beside('revision')}: the weights of {name.model} are named by `pretrained`; leave it out"
        )
    tags = open_clip.list_pretrained_tags_by_model(name.model)
    if name.pretrained in tags:
        _check_activation(name)
        return Place(source, name.model, name.pretrained, None)
    path = path_of(name.pretrained) if name.pretrained else None
    if path is not None and path.is_file():
        return Place(source, name.model, None, path)
    known = ", ".join(tags) or "none that open_clip knows"
    what = "a folder; name the file in it, or a tag: " if path is not None and path.is_dir() else ""
    raise UserError(
        f"{name.weights_key}: found {name.pretrained!r}"
        + (f", {what}{known}" if what else f"; the weights of {name.model} are: {known}; or name a local file")
    )


def _check_activation(name: ModelName) -> None:
    """Check that an architecture has the activation that a tag's weights were trained with.

    open_clip builds `ViT-L-14` with plain GELU even for OpenAI's weights, which were trained with QuickGELU, and only
    warns: every score would be a little wrong.
    """
    trained_quick = get_pretrained_cfg(name.model, name.pretrained).get("quick_gelu", False)
    built_quick = open_clip.get_model_config(name.model).get("quick_gelu", False)
    if trained_quick != built_quick:
        right = f"{name.model}-quickgelu" if trained_quick else name.model.removesuffix("-quickgelu")
        activation = "QuickGELU" if trained_quick else "plain GELU"
        raise UserError(f"{name.key}: the weights '{name.pretrained}' were trained with {activation}; name '{right}'")


def _in_folder(name: ModelName, folder: Path) -> Path:
    """The weights that are meant: those that `pretrained` names, else open_clip's, else the only ones."""
    if name.pretrained is not None:
        for path in (path_of(name.pretrained), folder / name.pretrained):
            if path and path.is_file():
                return path
        raise _no_architecture(name)
    found = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    standard = [path for wanted in _STANDARD for path in found if path.name == wanted]
    if standard or len(found) == 1:
        return (standard or found)[0]
    files = ", ".join(path.name for path in found)
    raise UserError(
        f"{name.key}: the folder '{name.model}' has several files of weights ({files}); name one as {name.weights_key}"
        if found
        else f"{name.key}: the folder '{name.model}' has no weights, no file *{', *'.join(_ENDINGS)}"
    )


def _no_architecture(name: ModelName) -> UserError:
    return UserError(
        f"{name.weights_key}: '{name.pretrained}' names weights of an open_clip architecture or a local file, "
        f"but {name.key} '{name.model}' is no architecture, and there is no such file here; leave it out, or name an "
        f"architecture such as 'ViT-L-14-quickgelu'"
    )


def _download(source: Source) -> Path:
    """Bring a hub model into the cache at its revision, which open_clip's own `hf-hub:` cannot pin; its folder."""
    try:
        with quiet():
            for weights in (_SAFE_WEIGHTS, _OLD_WEIGHTS):
                patterns = [*_SMALL_FILES, weights]
                folder = Path(snapshot_download(source.location, revision=source.revision, allow_patterns=patterns))
                if any(folder.glob(weights)):
                    break
    except LOADING_ERRORS as error:
        raise source.error(KIND, error) from None
    return folder
