"""How stages fit together: what they read, what they write, and which sources pass through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Use = Literal["web", "pairs", "both", "measure", "questions", "measure_questions"]
"""What a source's rows are for: the web's noisy texts are judged and captions are written; human pairs are taken as
they are; both, where an image's own texts are kept and others are written; or nothing learns from them, and what was
learnt is measured on them. Questions about images are learnt from or measured on likewise, by other steps."""

EVERY_USE: Final[frozenset[Use]] = frozenset(get_args(Use))
ASKED: Final[frozenset[Use]] = frozenset({"questions", "measure_questions"})
"""Uses of images that come with questions; all others come with texts about them."""
MEASURED: Final[frozenset[Use]] = frozenset({"measure", "measure_questions"})
"""Uses from which nothing learns."""
CAPTIONED: Final[frozenset[Use]] = frozenset({"web", "both"})
"""Uses in which captions are written for images."""
DESCRIBED: Final[frozenset[Use]] = frozenset({"pairs", "both"})
"""Uses of images that people have described, and that are learnt from."""
LEARNT_FROM: Final[frozenset[Use]] = EVERY_USE - MEASURED - ASKED
"""Uses whose captions are learnt from."""


@dataclass(frozen=True)
class Port:
    """One role of a stage's input: which kind of result it takes.

    A kind is a name of `stages.kinds`. A port takes what the steps above have written of its kind, of the same source.
    """

    kind: str
    many: bool = False
    """Whether it takes all such results; else there may be one."""
    optional: bool = False
    """Whether the stage works without."""
    above: bool = False
    """Whether it takes those of the sources above in the manifest too."""
    beside: frozenset[Use] = frozenset()
    """Uses of sources that do not pass through the stage, and of which the port reads instead. What lies there only
    decides which rows the stage takes of its own sources, so it is no part of its fingerprint."""
    of: str | None = None
    """The role that what it takes is about: whoever made it has read for that role what this step reads, no more and no
    less."""
