"""Checkpoints in a folder: each is one file that is there whole or not at all, and the last few are kept.

Beside each lies what was told since the one before it, which stays: a training that goes on need not read it.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from stages.io.files import locate, write_whole
from stages.training.task import Row

logger = logging.getLogger(__name__)

_STATE = re.compile(r"step-(\d{8})\.pt")
_HISTORY = re.compile(r"step-(\d{8})\.jsonl")
BEST = "best.pt"
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
        self.keep = keep

    def save(self, step: int, state: State, rows: Sequence[Row]) -> None:
        """Write a step's checkpoint, then remove the oldest beyond those to be kept.

        Args:
            step: the last that it knows of.
            state: what a training goes on from.
            rows: what was told since the checkpoint before it.
        """
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        write_whole(f"{self.folder}/step-{step:08d}.jsonl", lines.encode())
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(f"{self.folder}/{_name(step)}", buffer.getvalue())
        for old in self._steps(_STATE)[: -self.keep]:
            self._remove(old)

    def save_best(self, weights: State) -> None:
        """Keep the weights that were measured best so far."""
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        write_whole(f"{self.folder}/{BEST}", buffer.getvalue())

    def best(self) -> State:
        """Those, on the CPU."""
        weights: State = torch.load(io.BytesIO(self.read(BEST)), map_location="cpu", weights_only=True)
        return weights

    def newest(self) -> tuple[int, State] | None:
        """The latest checkpoint that can be read, and its step; None if there is none."""
        for step in reversed(self._steps(_STATE)):
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

    @property
    def farthest(self) -> int:
        """The latest step that there is a checkpoint of; 0 without one."""
        return max(self._steps(_STATE), default=0)

    def read(self, name: str) -> bytes:
        """Another file of the folder."""
        content: bytes = self._filesystem.cat_file(f"{self._folder}/{name}")
        return content

    def adopt(self, other: Checkpoints, step: int, names: Sequence[str]) -> None:
        """Copy a step's checkpoint of another training, what was told up to it, and other files; the checkpoint last.

        Args:
            other: where they lie.
            step: the step.
            names: of the other files.
        """
        told = [f"step-{each:08d}.jsonl" for each in other._steps(_HISTORY) if each <= step]
        for name in (*names, *told, _name(step)):
            write_whole(f"{self.folder}/{name}", other.read(name))

    def history(self) -> list[Row]:
        """All that was told, in the order of the steps; of what was told twice the later."""
        found: dict[tuple[int, str], Row] = {}
        for step in self._steps(_HISTORY):
            lines = self._filesystem.cat_file(f"{self._folder}/step-{step:08d}.jsonl").decode().splitlines()
            found.update({(row["step"], row["phase"]): row for row in map(json.loads, lines)})
        return sorted(found.values(), key=lambda row: (row["step"], row["phase"] != "train"))

    def _steps(self, name: re.Pattern[str]) -> list[int]:
        try:
            paths = self._filesystem.ls(self._folder, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (str(path).rsplit("/", 1)[-1] for path in paths)
        return sorted(int(found[1]) for each in names if (found := name.fullmatch(each)))

    def _remove(self, step: int) -> None:
        with suppress(FileNotFoundError):  # another process that trains the same thing was faster
            self._filesystem.rm_file(f"{self._folder}/{_name(step)}")


def _name(step: int) -> str:
    return f"step-{step:08d}.pt"
