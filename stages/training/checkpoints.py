"""Checkpoints in a folder: each is one file that is there whole or not at all, and the last few are kept."""

from __future__ import annotations

import io
import logging
import pickle
import re
from contextlib import suppress
from typing import Any

import torch

from stages.io.files import locate, write_whole

logger = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8})\.pt")
State = dict[str, Any]
"""Tensors, numbers, strings, and lists and dicts of them: what torch loads without running code."""


class Checkpoints:
    """The checkpoints of one training.

    What a step's checkpoint holds follows from the recipe, so two processes that train the same thing at the same time
    (a cut-off host, say) write the same files and do no harm.
    """

    def __init__(self, folder: str, keep: int) -> None:
        self._filesystem, self._folder = locate(folder)
        self.folder = folder
        self._keep = keep

    def save(self, step: int, state: State) -> None:
        """Write a step's checkpoint, then remove the oldest beyond those to be kept."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(f"{self.folder}/{_name(step)}", buffer.getvalue())
        for old in self._steps()[: -self._keep]:
            self._remove(old)

    def newest(self) -> tuple[int, State] | None:
        """The latest checkpoint that can be read, and its step; None if there is none."""
        for step in reversed(self._steps()):
            try:
                return step, self.load(step)
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                reason = type(error).__name__  # torch's own words fill a page
                logger.warning("%s/%s cannot be read (%s); taking an older one", self.folder, _name(step), reason)
        return None

    def load(self, step: int) -> State:
        """A step's checkpoint, on the CPU."""
        content = self._filesystem.cat_file(f"{self._folder}/{_name(step)}")
        state: State = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return state

    def _steps(self) -> list[int]:
        try:
            paths = self._filesystem.ls(self._folder, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (str(path).rsplit("/", 1)[-1] for path in paths)
        return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))

    def _remove(self, step: int) -> None:
        with suppress(FileNotFoundError):  # another process that trains the same thing was faster
            self._filesystem.rm_file(f"{self._folder}/{_name(step)}")


def _name(step: int) -> str:
    return f"step-{step:08d}.pt"
