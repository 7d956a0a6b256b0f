"""Which listing of a file counts."""

from __future__ import annotations

from pipeline.dag.listing import latest, next_name


def test_the_last_one_counts_however_many_there_are() -> None:
    names = ["a-1"]
    for _ in range(1_200):
        names.append(next_name(names[-1]))
    assert len(set(names)) == len(names)
    assert latest([*reversed(names), "b-1"]) == {"a-1": names[-1], "b-1": "b-1"}
