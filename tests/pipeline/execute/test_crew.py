"""Whose fault a failure is taken for."""

from __future__ import annotations

from pipeline.execute.crew import Crew
from pipeline.execute.task import Task

A, B, C, D = (Task("caption/a", f"a-{number}") for number in range(4))


def test_who_fails_at_several_shards_in_a_row_is_sick_and_to_blame_for_all_of_them():
    crew = Crew()
    assert [crew.failed("one", task, ["two"]) for task in (A, B, C)] == ["well", "well", "sick"]
    assert crew.blamed_for("one") == [A, B, C]


def test_a_success_between_failures_shows_that_the_shards_are_bad():
    crew = Crew()
    for task in (A, B, C, D):
        assert crew.failed("one", task, ["two"]) == "well"
        crew.succeeded("one")
        assert crew.blamed_for("one") == []


def test_the_last_attempt_at_the_only_shard_is_somebody_elses():
    crew = Crew()
    assert crew.failed("one", A, []) == "well"
    assert crew.failed("one", A, [], last=True) == "sick"
    assert crew.blamed_for("one") == []  # for it may be the shard


def fail_in_a_row(crew: Crew, worker: str, others: list[str]) -> str:
    verdict = ""
    for task in (A, B, C):
        verdict = crew.failed(worker, task, others)
    return verdict


def test_there_is_no_hope_where_one_after_the_other_is_sick():
    crew = Crew()
    for number in range(3):
        crew.joined(f"{number}")
        assert fail_in_a_row(crew, f"{number}", []) == "sick"
        crew.dismissed(f"{number}")
    crew.joined("3")
    assert crew.failed("3", A, []) == "hopeless"
    crew.succeeded("3")
    assert crew.failed("3", A, []) == "well"


def test_there_is_hope_while_one_of_the_first_may_be_well():
    crew = Crew()
    for number in range(5):
        assert fail_in_a_row(crew, f"{number}", ["slow"]) == "sick"
        crew.dismissed(f"{number}")
    assert crew.failed("slow", A, ["late"]) == "well"
    crew.joined("late")
    assert crew.failed("slow", B, ["late"]) == "hopeless"


def test_workers_that_cannot_be_set_up_are_sick_at_once_and_hopeless_soon():
    crew = Crew()
    verdicts = []
    for number in range(4):
        crew.joined(f"{number}")
        verdicts.append(crew.failed(f"{number}", None, []))
        crew.dismissed(f"{number}")
    assert verdicts == ["sick", "sick", "sick", "hopeless"]
