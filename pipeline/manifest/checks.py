"""What no single key shows: steps that do not fit together, and sources that must be kept apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.dag.steps import Step
from pipeline.dag.wiring import Wiring, wire
from pipeline.manifest.errors import Problem
from stages.contract import ASKED, FROM, MEASURED, Use, Wired, model_fields, models_from
from stages.errors import UserError
from stages.kinds import KINDS
from stages.models import families
from stages.models.family import ModelName
from stages.models.source import field_of
from stages.registry import STAGES
from stages.urls.settings import SourceSettings


def contradictions(sources: Mapping[str, SourceSettings], steps: Sequence[Step]) -> list[Problem]:
    """Everything that is wrong with a manifest whose single keys are right."""
    wiring = wire(steps, {name: source.used for name, source in sources.items()})
    found = [*_of_sources(sources), *_unpassed(sources, steps)]
    found += [Problem(place, words) for place, words in wiring.problems]
    for position, step in enumerate(steps):
        found += _of_step(step, wiring, sources)
        found += _of_models(step)
        found += _of_reads(step, steps)
        found += _unread(position, steps, wiring)
    return list(dict.fromkeys(found))


def in_working_order(sources: Mapping[str, SourceSettings], steps: Sequence[Step]) -> Sequence[Step]:
    """The steps in the file's order; or in a main job's, where that is right and the file's is not.

    For many programs write the keys of a file in the alphabet's order. Rounds have none but the file's.
    """
    if any(step.name != step.section for step in steps) or not contradictions(sources, steps):
        return steps
    main_job = _main_job(steps)
    return steps if contradictions(sources, main_job) else main_job


def _main_job(steps: Sequence[Step]) -> list[Step]:
    """The steps in a main job's order; one that makes a model stands before the first that takes it."""
    stages = list(STAGES.values())
    waiting = {step.section: step for step in sorted(steps, key=lambda step: stages.index(step.spec))}
    ordered: list[Step] = []

    def place(section: str) -> None:
        step = waiting.pop(section, None)  # gone already, where models go round in a circle
        if step is not None:
            for made in models_from(step.recipe).values():
                place(made)
            ordered.append(step)

    for section in list(waiting):
        place(section)
    return ordered


def _of_step(step: Step, wiring: Wiring, sources: Mapping[str, SourceSettings]) -> Iterator[Problem]:
    """What the step's stage says of its recipe, and of what it finds."""
    if step.spec.check is None:
        return
    passing = {name: source.used for name, source in sources.items() if step.takes(source.used)}
    wired = {name: Wired(use, _reads(step, name, wiring)) for name, use in passing.items()}
    for key, words in step.spec.check(step.recipe, wired):
        yield Problem((*step.place, *key) if step.place else (), step.told(words))


def _of_models(step: Step) -> Iterator[Problem]:
    """Whether models that are here are what the step needs; another one is looked at by who loads it."""
    wanted = {"model": step.spec.model, **step.spec.models}
    named = dict(model_fields(step.recipe))
    for field, role in wanted.items():
        if role is None or field not in named or named[field].startswith(FROM):
            continue
        more = [getattr(step.recipe, field_of(field, what), None) for what in ("pretrained", "revision")]
        name = ModelName(f"{step.section}.{field}", named[field], *more)
        if families.is_at_hand(name):
            try:
                families.check(name, role)
            except UserError as error:
                key, _, words = str(error).partition(": ")
                yield Problem((*step.place, key.rpartition(".")[2]), words)


def _of_reads(step: Step, steps: Sequence[Step]) -> Iterator[Problem]:
    """Whether there is what a step shall read."""
    known = dict.fromkeys(other.section for other in steps)
    for name in sorted((step.reads or frozenset()) - set(known)):
        words = f'found "{name}"; there is no such step, the steps are {", ".join(known)}'
        yield Problem((*step.place, "reads"), words)


def _unread(position: int, steps: Sequence[Step], wiring: Wiring) -> Iterator[Problem]:
    """Whether a step that serves others alone serves any, or would but for somebody's `reads:`."""
    step, wires = steps[position], wiring.wires.values()
    kind = step.spec.writes
    own = {wire.name for wire in wires if wire.step is step}
    read = any(own.intersection(names) for wire in wires for names in wire.reads.values())
    if KINDS[kind].end or not own or read or any(_takes(other, kind) for other in steps[position + 1 :]):
        return
    if would := [other for other in steps[:position] if other.place and _takes(other, kind)]:
        section = would[0].section
        words = f"nothing reads its {kind}, for '{section}' stands above; move this section above '{section}'"
    else:
        readers = [name for name, spec in STAGES.items() if any(port.kind == kind for port in spec.reads.values())]
        words = f"nothing reads its {kind}; leave this section out, or add one below that does: {', '.join(readers)}"
    yield Problem(step.place, step.told(words))


def _takes(step: Step, kind: str) -> bool:
    return any(port.kind == kind for port in step.spec.reads.values())


def _reads(step: Step, source: str, wiring: Wiring) -> dict[str, dict[str, str]]:
    """By role for which a step finds something of a source: the sections that it reads, and the stage of each."""
    found: dict[str, dict[str, str]] = {}
    own = [each for each in wiring.wires.values() if each.step is step and each.source in {None, source}]
    for each in own:
        for role, names in each.reads.items():
            for before in (wiring.wires[name] for name in names):
                if before.source in {None, source}:
                    found.setdefault(role, {})[before.step.section] = before.step.spec.name
    return found


def _unpassed(sources: Mapping[str, SourceSettings], steps: Sequence[Step]) -> Iterator[Problem]:
    """Steps that no source reaches though they read all of one use, and sources that nothing reaches."""
    uses = {source.used for source in sources.values()}
    for step in steps:
        if step.spec.grain == "run" and not step.uses & uses:
            yield Problem(step.place, f"takes {_told(step.uses)}, and there is none")
    measured = {use for step in steps if step.uses <= MEASURED for use in step.uses}
    for name, source in sources.items():
        if source.used in MEASURED - measured:
            words = "its 'use' is 'measure', and no section measures on it; add one that does"
            yield Problem(("sources", name), words)


def _told(uses: frozenset[Use]) -> str:
    """The sources that a step takes, by what is said of them in a manifest."""
    asked = " of questions" * (uses <= ASKED)
    said = sorted({"measure" if use in MEASURED else use for use in uses})
    return f"sources{asked} whose 'use' is {' or '.join(map(repr, said))}"


def _of_sources(sources: Mapping[str, SourceSettings]) -> Iterator[Problem]:
    """Whether what is measured on is kept apart from what is learnt from, and people's texts from the web's."""
    for name, source in sources.items():
        if source.human and source.used == "web":
            words = 'found "web", but people wrote these texts; say pairs, both or measure'
            yield Problem(("sources", name, "use"), words)
        if not source.human and source.used in {"both", "measure"}:
            words = f"found \"{source.used}\", but these are the web's texts, not people's; say web or pairs"
            yield Problem(("sources", name, "use"), words)
        for other, measured in sources.items():
            if measured.used in MEASURED and source.used not in MEASURED and measured.overlaps(source):
                words = (
                    f"its rows are also those of '{other}', which is measured on and nothing may train on; "
                    "take other 'splits' here, or tell the two apart by 'where'"
                )
                yield Problem(("sources", name), words)
