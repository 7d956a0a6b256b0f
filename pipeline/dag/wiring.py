"""Which step reads of which: six rules, and no stage known by name.

1. A step sees the latest step of each name above it, in the order of the file (or see `manifest.checks`).
2. A port takes the visible steps that write its kind and that the source passes through, too.
3. One that finds none is a mistake, unless it is optional; so is one that may have one and finds several.
4. `reads:` narrows what a step's ports see, and never widens it.
5. What is about another thing that a step reads, as scores are, is about all of that, and about nothing else.
6. A model that is `{from: STEP}` is read of the nearest step of that name above; `STEP@2` names a round. It has to be
   of the kind that the field takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from pipeline.dag.steps import Step, visible
from stages.contract import Port, Use, kind_of_model, models_from
from stages.kinds import KINDS
from stages.registry import STAGES


def place(step: str, source: str | None) -> str:
    """The name of what a step makes of a source: `caption/laion`; or of all at once: `pretrain`."""
    return step if source is None else f"{step}/{source}"


@dataclass(frozen=True)
class Wire:
    """A step of one source, or of all, and what it reads."""

    step: Step
    source: str | None
    reads: Mapping[str, tuple[str, ...]]
    """By role, the names of what is read."""

    @property
    def name(self) -> str:
        """See `place`."""
        return place(self.step.name, self.source)


@dataclass(frozen=True)
class Wiring:
    """All wires, each behind those that it reads of, and what is wrong with them."""

    wires: dict[str, Wire] = field(default_factory=dict)
    problems: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    """Where in the manifest, and what to say."""


def wire(steps: Sequence[Step], uses: Mapping[str, Use]) -> Wiring:
    """Put steps together.

    Args:
        steps: in the file's order.
        uses: the sources and what they are for, in the file's order.
    """
    found, known = Wiring(), {step.section for step in steps}
    for position, step in enumerate(steps):
        passing = [source for source, use in uses.items() if step.takes(use)]
        for source in [None] if step.spec.grain == "run" else passing:
            wires = _Ports(step, steps[:position], steps[position + 1 :], uses, passing, source)
            reads = {role: wires.reads(port) for role, port in step.spec.reads.items()}
            own = Wire(step, source, {role: names for role, names in (reads | wires.models()).items() if names})
            if not (step.reads or frozenset()) - known:  # else that is told, and nobody knows what was meant
                wires.problems.extend(_uneven(own, found.wires))
            found.wires[own.name] = own
            found.problems.extend((step.place, step.told(words)) for words in wires.problems)
    return found


@dataclass(frozen=True)
class _Ports:
    """One step and source, and what it may read of."""

    step: Step
    above: Sequence[Step]
    below: Sequence[Step]
    uses: Mapping[str, Use]
    passing: Sequence[str]
    source: str | None
    problems: list[str] = field(default_factory=list)

    @property
    def seen(self) -> list[Step]:
        """What the ports may read of."""
        return [step for step in visible(self.above) if self.step.reads is None or step.section in self.step.reads]

    def reads(self, port: Port) -> tuple[str, ...]:
        """The names of what a port takes."""
        names: list[str] = []
        for source, writers in self._writers(port).items():
            if not writers and not port.optional:
                self.problems.append(self._missing(port, source))
            elif len(writers) > 1 and not port.many:
                several = " and ".join(step.name for step in writers)
                words = "list under 'reads:' all that it shall read, and of these one"
                self.problems.append(f"reads {port.kind} of one step, and finds {several}; {words}")
            names += [place(step.name, source) for step in writers]
        return tuple(names)

    def _writers(self, port: Port) -> dict[str | None, list[Step]]:
        """The steps that a port reads of, by source; by None those that have no source."""
        writers = [step for step in self.seen if step.spec.writes == port.kind]
        if any(step.spec.grain == "run" for step in writers):
            return {None: writers}
        return {source: [step for step in writers if step.takes(self.uses[source])] for source in self._sources(port)}

    def _sources(self, port: Port) -> Sequence[str]:
        """The sources that a port reads of."""
        if port.beside:
            return [source for source, use in self.uses.items() if use in port.beside]
        if self.source is None:
            return self.passing
        return self.passing[: self.passing.index(self.source) + 1] if port.above else (self.source,)

    def _missing(self, port: Port, source: str | None) -> str:
        reads = f"reads {port.kind}"
        if _first(self.seen, port.kind):
            return f"{reads} of the source '{source}', which passes through no step above that writes them"
        if left := _first(visible(self.above), port.kind):
            return f"{reads}, which '{left.section}' writes; its 'reads:' leaves that out, so add it there"
        if later := _first(self.below, port.kind):
            return f"{reads}, which '{later.section}' below it writes; move that section above '{self.step.section}'"
        stages = " or ".join(f"'{name}'" for name, spec in STAGES.items() if spec.writes == port.kind)
        return f"{reads}, which nothing above it writes; add a section {stages} above it"

    def models(self) -> dict[str, tuple[str, ...]]:
        """The steps that a recipe names as models, by the recipe's field."""
        wanted = models_from(self.step.recipe)
        found = {key: self._model(name, kind_of_model(self.step.recipe, key)) for key, name in wanted.items()}
        return {key: (step.name,) for key, step in found.items() if step}

    def _model(self, wanted: str, kind: str) -> Step | None:
        named = [step for step in self.above if wanted in {step.name, step.section}]
        if named and named[-1].spec.writes == kind:
            return named[-1]
        if not named and any(wanted in {step.name, step.section} for step in self.below):
            why = "which stands below it; move that section above"
        else:
            made = ", ".join(step.name for step in self.above if step.spec.writes == kind) or "none"
            why = _unfit(named[-1]) if named else "and there is no such step above it; those above that make models"
            why = f"{why}: {made}"
        self.problems.append(f"takes its model from '{wanted}', {why}")
        return None


def _unfit(step: Step) -> str:
    if step.spec.writes in KINDS and KINDS[step.spec.writes].is_model:
        return "which makes a model of another kind; those above that make one of the kind"
    return "which makes no model; those above that make models"


def _uneven(own: Wire, wires: Mapping[str, Wire]) -> Iterator[str]:
    """What is wrong with results that a step reads, and that are about more or less than it reads."""
    abouts = {role: port.of for role, port in own.step.spec.reads.items() if port.of}
    for role, about in abouts.items():
        for maker in (wires[name] for name in own.reads.get(role, ())):
            names = own.reads.get(about, ())
            read = {wires[name].step.name for name in names if maker.source in {None, wires[name].source}}
            theirs = {wires[name].step.name for name in maker.reads.get(about, ())}
            if read:
                yield from _difference(maker.step.section, read, theirs)


def _difference(maker: str, read: Set[str], theirs: Set[str]) -> Iterator[str]:
    """What is wrong where a step reads some steps, and what is about these was made of others."""
    more, less = (_listed(name.partition("@")[0] for name in found) for found in (theirs - read, read - theirs))
    if more == less != "":
        yield f"reads {less} of its own round, and '{maker}' that of another one; let both stand in 'rounds:', or none"
        return
    if more:
        yield f"reads '{maker}', which also reads {more}; add it to 'reads:' here or leave it out there"
    if less:
        yield f"reads {less}, which '{maker}' does not; leave it out of 'reads:' here, or add it there"


def _listed(sections: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in sorted(sections))


def _first(steps: Iterable[Step], kind: str) -> Step | None:
    return next((step for step in steps if step.spec.writes == kind), None)
