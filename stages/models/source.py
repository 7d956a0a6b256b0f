"""Where a model lies, and what its configuration files say: no weight is read, no torch imported."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract import HUB_NAME, path_of
from stages.errors import UserError


@dataclass(frozen=True)
class Source:
    """Where a model is taken from, as the manifest has it."""

    key: str
    """The manifest key that names the model (`caption.model`), for messages."""
    location: str
    """A folder, or a hub name."""
    revision: str | None
    is_folder: bool

    def config(self, file: str) -> dict[str, Any] | None:
        """What a JSON file of the model says; None if it has no such file.

        Raises:
            UserError: the hub cannot be asked, or the file is no JSON object.
        """
        path = Path(self.location) / file if self.is_folder else self._of_hub(file)
        if path is None or not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.key}: {file} of '{self.location}' cannot be read ({why(error)})") from None
        if not isinstance(found, dict):
            raise UserError(f"{self.key}: {file} of '{self.location}' is no JSON object; take the model's own")
        return found

    @property
    def commit(self) -> str | None:
        """The hub commit that is meant; None for a folder, and for a model without a config.json.

        Raises:
            UserError: the hub cannot be asked.
        """
        path = None if self.is_folder else self._of_hub("config.json")
        return path.parent.name if path else None  # the cache has a folder for every commit

    def _of_hub(self, file: str) -> Path | None:
        """A file of a hub model, downloaded unless it is in the cache."""
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - a fifth of a second, for hub names alone
        from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415

        try:
            return Path(hf_hub_download(self.location, file, revision=self.revision))
        except EntryNotFoundError:  # the hub says so; or it cannot be asked, and the cache has none
            return None
        except (OSError, ValueError) as error:
            raise self.error("a model", error) from None

    def error(self, kind: str, reason: BaseException) -> UserError:
        """The one line that tells why this source gave no model of the kind (`a BLIP captioner`)."""
        if self.is_folder:
            return UserError(f"{self.key}: the folder '{self.location}' cannot be loaded as {kind} ({why(reason)})")
        if not isinstance(reason, OSError):
            return UserError(f"{self.key}: '{self.shown}' of the hub cannot be loaded as {kind} ({why(reason)})")
        return UserError(
            f"{self.key}: no folder '{self.location}' here, and the hub cannot be reached or has no '{self.shown}' "
            f"that is {kind} ({why(reason)}); give a local folder or a hub name"
        )

    @property
    def shown(self) -> str:
        """Its name, with the revision where there is one."""
        return self.location if self.revision is None else f"{self.location}@{self.revision}"


def why(reason: BaseException) -> str:
    """What a library raised, in half a line."""
    return f"{type(reason).__name__}: {_first_sentence(str(reason))}"


def find_source(name: str, revision: str | None, key: str) -> Source:
    """Tell a local folder from a hub name (see `path_of`); nothing is downloaded here.

    Raises:
        UserError: neither a folder that is here nor a hub name, or a folder with a revision.
    """
    if not name:
        raise UserError(f"{key}: names no model; give a local folder or a hub name such as 'org/name'")
    path = path_of(name)
    if path is None:
        raise UserError(f"{key}: no folder '{name}' here; give a local folder or a hub name such as 'org/name'")
    if path.is_dir():
        _refuse_revision(name, revision, key, "folder")
        return Source(key, str(path), None, is_folder=True)
    if path.exists():
        raise UserError(f"{key}: '{name}' is a file; give the folder that the model was saved to, or a hub name")
    if not HUB_NAME.fullmatch(name):
        raise UserError(f"{key}: no folder '{name}' here; give a local folder or a hub name such as 'org/name'")
    return Source(key, name, revision, is_folder=False)


def find_file(name: str, revision: str | None, key: str) -> Source | None:
    """A local file with weights; None if the name is another's.

    Raises:
        UserError: it is a file with a revision.
    """
    path = path_of(name)
    if path is None or not path.is_file():
        return None
    _refuse_revision(name, revision, key, "file")
    return Source(key, str(path), None, is_folder=False)


def _refuse_revision(name: str, revision: str | None, key: str, what: str) -> None:
    if revision is not None:
        where = key_of(key, "revision")
        raise UserError(f"{where}: '{name}' is a local {what}, which has no revisions; leave it out")


def key_of(model: str, what: str) -> str:
    """The key that says more of a model: `caption.revision` beside `caption.model`."""
    section, _, field = model.rpartition(".")
    return f"{section}.{field_of(field, what)}"


def field_of(model: str, what: str) -> str:
    """The same of a field of a recipe: `revision` beside `model`, `clip_revision` beside `clip`."""
    return what if model == "model" else f"{model}_{what}"


def _first_sentence(message: str) -> str:
    """What libraries say first is what happened; their advice after it is about their own arguments."""
    line = (message.strip().splitlines() or ["no reason given"])[0]
    return re.split(r"\. (?=[A-Z])", line)[0][:200].rstrip(" .:")
