"""What loading a published model raises, and how to keep it quiet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

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
