"""Runs of these tests waste no time between two attempts at a shard."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.execute.retries.PAUSE", 0.01)
