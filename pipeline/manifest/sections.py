"""The sections of a manifest as steps: those that stand there, those that are implied, and rounds written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from pipeline.dag.steps import Step
from pipeline.manifest.document import ROUNDS, TIMES, Top, section, stage_of, without_wiring
from stages.contract import StageSpec, Use
from stages.registry import STAGES


def with_rounds(values: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values, in which a section of the rounds has the keys of the one above it of the same name."""
    rounds = values.get(ROUNDS)
    if not isinstance(rounds, dict):
        return dict(values)
    names = takewhile(lambda name: name != ROUNDS, values)
    above = {name: values[name] for name in names if name not in Top.model_fields and isinstance(values[name], dict)}
    merged = {
        name: {**above[name], **(value or {})} if name in above and isinstance(value, dict | None) else value
        for name, value in rounds.items()
    }
    return {**values, ROUNDS: merged}


def steps_of(document: Any, values: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps of a manifest, in the order of the file.

    Args:
        document: the validated file.
        values: its plain values, in its order.
    """
    steps = [step for name in values for step in _steps(document, name, values)]
    return tuple(_with_implied(steps, {source.used for source in document.sources.values()}))


def _steps(document: Any, name: str, values: Mapping[str, Any]) -> Iterator[Step]:
    if name in Top.model_fields:
        return
    if name != ROUNDS or values[ROUNDS] is None:
        yield from _step(getattr(document, name), name, name, (name,), values[name])
        return
    rounds = getattr(document, ROUNDS)
    for number in range(1, getattr(rounds, TIMES) + 1):
        for inner, value in values[ROUNDS].items():
            if inner != TIMES:
                yield from _step(getattr(rounds, inner), inner, f"{inner}@{number}", (ROUNDS, inner), value)


def _step(section: Any, name: str, shown: str, place: tuple[str, ...], value: Any) -> Iterator[Step]:
    """The step of a section; none where there is nothing under its name."""
    stage = stage_of(name, value)
    if section is None or stage is None:
        return
    yield _made(STAGES[stage], section, shown, place)


def _made(spec: StageSpec, section: Any, name: str, place: tuple[str, ...]) -> Step:
    recipe = spec.recipe.model_validate(without_wiring(section.model_dump()))
    reads = None if section.reads is None else frozenset(section.reads)
    return Step(name, spec, recipe, section.run, reads, place)


def _with_implied(steps: Sequence[Step], uses: set[Use]) -> list[Step]:
    """The steps, and those that run without a section, each before the first one that comes later in a main job."""
    found, order = list(steps), list(STAGES)
    for name, spec in STAGES.items():
        if spec.implied and spec.uses & uses and _is_wanted(spec, steps):
            later = (at for at, step in enumerate(found) if order.index(step.spec.name) > order.index(name))
            found.insert(next(later, len(found)), _made(spec, section(spec)(), name, ()))
    return found


def _is_wanted(spec: StageSpec, steps: Sequence[Step]) -> bool:
    """Whether a stage is to run without a section: none has one, and it is not that all who read it can do without.

    So a web's texts are not selected where nothing judges them, and a training takes them as they are.
    """
    if any(step.spec is spec for step in steps):
        return False
    readers = [port for step in steps for port in step.spec.reads.values() if port.kind == spec.writes]
    made = {step.spec.writes for step in steps}
    is_fed = any(port.optional and port.kind in made for port in spec.reads.values())
    return is_fed or not readers or not all(port.optional for port in readers)
