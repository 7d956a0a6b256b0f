"""Published models from a hub name or a local folder; whatever is wrong with one is told in one line."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from stages.errors import UserError

LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AssertionError,
    ImportError,
    SafetensorError,
)
"""What transformers and open_clip raise for a model that is absent, broken or of another kind."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Source:
    """Where a model is taken from, as the manifest has it."""

    key: str
    """The manifest key that names the model (`caption.model`), for messages."""
    location: str
    """A folder, or a hub name."""
    revision: str | None
    is_folder: bool

    def error(self, kind: str, reason: BaseException) -> UserError:
        """The one line that tells why this source gave no model of the kind (`a BLIP captioner`)."""
        if self.is_folder:
            return UserError(f"{self.key}: the folder '{self.location}' cannot be loaded as {kind} ({why(reason)})")
        named = self.location if self.revision is None else f"{self.location}@{self.revision}"
        if not isinstance(reason, OSError):
            return UserError(f"{self.key}: '{named}' of the hub cannot be loaded as {kind} ({why(reason)})")
        return UserError(
            f"{self.key}: no folder '{self.location}' here, and the hub cannot be reached or has no '{named}' "
            f"that is {kind} ({why(reason)}); give a local folder or a hub name"
        )


def why(reason: BaseException) -> str:
    """What a library raised, in half a line."""
    return f"{type(reason).__name__}: {_first_sentence(str(reason))}"


def find_source(name: str, revision: str | None, key: str) -> Source:
    """Tell a local folder from a hub name. A path that exists is a folder; nothing is downloaded here.

    Raises:
        UserError: neither a folder that is here nor a hub name, or a folder with a revision.
    """
    if not name:
        raise UserError(f"{key}: names no model; give a local folder or a hub name such as 'org/name'")
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            section = key.rsplit(".", 1)[0]
            raise UserError(f"{section}.revision: '{name}' is a local folder, which has no revisions; leave it out")
        return Source(key, str(path), None, is_folder=True)
    if path.exists():
        raise UserError(f"{key}: '{name}' is a file; give the folder that the model was saved to, or a hub name")
    if not _HUB_NAME.fullmatch(name):
        raise UserError(f"{key}: no folder '{name}' here; give a local folder or a hub name such as 'org/name'")
    return Source(key, name, revision, is_folder=False)


def _first_sentence(message: str) -> str:
    """What libraries say first is what happened; their advice after it is about their own arguments."""
    line = (message.strip().splitlines() or ["no reason given"])[0]
    return re.split(r"\. (?=[A-Z])", line)[0][:200].rstrip(" .:")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep load-time chatter away: progress bars, retries, and warnings whose cause the loaders check themselves."""
    placeholder = logging.NullHandler()
    disabled = logging.root.manager.disable
    logging.root.addHandler(placeholder)  # open_clip logs through the root, which otherwise gives itself a handler
    logging.disable(logging.CRITICAL)
    try:
        with _quiet_hugging_face(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.removeHandler(placeholder)


@contextmanager
def _quiet_hugging_face() -> Iterator[None]:
    hub, models = hub_logging.get_verbosity(), transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity(logging.ERROR)
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hub_logging.set_verbosity(hub)
        transformers_logging.set_verbosity(models)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
