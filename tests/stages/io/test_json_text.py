"""JSON that every reader of JSON can read."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest

from stages.io.json_text import to_json
from stages.io.webdataset import json_part


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (float("nan"), None),
        ({"a": [1.5, float("inf")], "ü": (float("-inf"), "x")}, {"a": [1.5, None], "ü": [None, "x"]}),
        ({1: "a", (2, 3): float("nan")}, {"1": "a", "(2, 3)": None}),
        ([dt.date(2020, 1, 31), Decimal("1.50")], ["2020-01-31", "1.50"]),
        ({"a": {"b": None, "c": True}}, {"a": {"b": None, "c": True}}),
    ],
)
def test_to_json(value: Any, read: Any) -> None:
    assert json.loads(to_json(value), parse_constant=pytest.fail) == read
    if isinstance(value, dict):
        assert json.loads(json_part(value), parse_constant=pytest.fail) == read


def test_characters_stay() -> None:
    assert to_json({"a": "ü 🍕"}) == '{"a": "ü 🍕"}'
