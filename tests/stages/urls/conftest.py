"""Helpers for the readers' tests: a source is written as in a manifest and read as in a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from stages.urls import folder
from stages.urls.compute import Urls
from stages.urls.damage import Damage
from stages.urls.known import Known
from stages.urls.parts import find_parts
from stages.urls.spec import Source, UrlsRecipe, UrlsRun

SOURCE: TypeAdapter[Any] = TypeAdapter(Source)

Read = Callable[..., pa.Table]


@pytest.fixture(autouse=True)
def _images_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most lists of these tests name images that nobody made."""
    monkeypatch.setattr(folder, "_is_one_there", lambda *_: True)


@pytest.fixture
def source() -> Callable[..., Any]:
    """Validate a source's settings as a manifest does."""
    return lambda **settings: SOURCE.validate_python(settings)


@pytest.fixture
def read(source: Callable[..., Any]) -> Read:
    """Read a whole source into one table."""

    def read(shard_size: int = 10_000, **settings: Any) -> pa.Table:
        parts = find_parts("web", source(**settings))
        cut = Urls(UrlsRecipe(shard_size=shard_size), UrlsRun())
        tables = [table for part in parts for _, table in cut(part, Damage(part.place), Known(part.file))]
        return pa.concat_tables(tables)

    return read


@pytest.fixture
def read_damaged(source: Callable[..., Any]) -> Callable[..., tuple[pa.Table, Damage]]:
    """Read a source of one file into a table, and what was left out of it."""

    def read(**settings: Any) -> tuple[pa.Table, Damage]:
        (part,) = find_parts("web", source(**settings))
        damage = Damage(part.place)
        return pa.concat_tables(
            table for _, table in Urls(UrlsRecipe(), UrlsRun())(part, damage, Known(part.file))
        ), damage

    return read
