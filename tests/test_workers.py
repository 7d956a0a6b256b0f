"""Modules that must not run side by side are in one group."""

from __future__ import annotations

from pathlib import Path

from tests.workers import GROUPS, group_of

TESTS = Path(__file__).parent


def test_every_module_that_starts_a_ray_is_in_its_group():
    marked = {path.stem for path in TESTS.rglob("test_*.py") if "pytest.mark.ray" in path.read_text()}
    assert marked - {Path(__file__).stem} == set(GROUPS["ray"])


def test_a_module_is_a_group_of_its_own_unless_it_is_named():
    assert group_of("tests/pipeline/execute/test_kill.py::test_a[x/y]") == "ray"
    assert group_of("tests/test_docs.py::test_b") == "tests/test_docs.py"
