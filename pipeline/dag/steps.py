"""The steps of a manifest: a stage each, with its recipe and where and how it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.contract import Recipe, RunOptions, StageSpec, Use


@dataclass(frozen=True)
class Step:
    """One section of a manifest, or one that is implied."""

    name: str
    """The section's, with `@2` behind it in a second round."""
    spec: StageSpec
    recipe: Recipe
    run: RunOptions
    reads: frozenset[str] | None = None
    """The names of the sections that it reads of, where it shall not read of all that it could."""
    place: tuple[str, ...] = ()
    """Where the section stands in the file; () where it does not."""

    @property
    def section(self) -> str:
        """The name without a round."""
        return self.name.partition("@")[0]

    def told(self, words: str) -> str:
        """What is wrong with it, in words that stand alone where there is no section to point to."""
        return words if self.place else f"{self.name}: {words}"

    @property
    def uses(self) -> frozenset[Use]:
        """What the sources are for that pass through it."""
        return self.spec.uses if self.spec.narrow is None else self.spec.narrow(self.recipe)

    def takes(self, use: Use) -> bool:
        """Whether sources of a use pass through it."""
        return use in self.uses


def visible(steps: Sequence[Step]) -> list[Step]:
    """What a step below these can see: of every name the latest step."""
    latest = {step.section: step for step in steps}
    return [step for step in steps if latest[step.section] is step]
