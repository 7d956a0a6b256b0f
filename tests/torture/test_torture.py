"""A random fault; `make torture` has hundreds, in more places."""

from __future__ import annotations

import secrets

import pytest

from tests.torture.torture import torture

FAULTS = 1
SHARDS = 4
STAGES = ("urls", "caption")


@pytest.mark.ray
def test_a_fault(tmp_path, ray_home):
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    figures = torture("disk", FAULTS, seed, tmp_path, SHARDS, STAGES)
    assert figures.faults.total() == FAULTS
    assert figures.tables > 0
