"""CIDEr-D, BLEU and ROUGE-L of written captions, by the modules of pycocoevalcap that need no Java.

They are in an extra, for the package is 104 MB of tables and jars of other metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final, NamedTuple

from stages.metrics.tokens import tokenize

CAPTION_METRICS: Final = ("CIDEr-D", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L")
"""In the order in which `score` gives them."""
MISSING: Final = (
    "CIDEr, BLEU and ROUGE are left out, for pycocoevalcap is not installed; "
    "install it by `pip install 'capfilt[metrics]'`, delete the folder of this result, and run again"
)
"""What is said where the extra is not there."""


def can_score() -> bool:
    """Whether the extra is there."""
    return find_spec("pycocoevalcap") is not None


class Scored(NamedTuple):
    """What a set of captions is worth."""

    measures: dict[str, float]
    """By name of `CAPTION_METRICS`; CIDEr-D in [0, 10], the others in [0, 1]."""
    cider: dict[str, float]
    """CIDEr-D of every image, whose mean is that of the set; BLEU is no mean of anything."""


def score(written: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Scored:
    """Score a set of captions, as coco-caption does but for who tokenises (`stages.metrics.tokens`).

    CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726) weighs n-grams by how rare they are in the references of this very
    set, so a part of a set has other weights than the whole. Corpus BLEU takes the closest reference length; ROUGE-L is
    the mean of F with beta 1.2.

    Args:
        written: one caption per image, by any name of the image.
        references: what people wrote of the same images, at least one text each; equal ones count as often as they
            stand there.

    Raises:
        ImportError: `can_score` says no.
        ValueError: the two are not of the same images, or of none.
    """
    from pycocoevalcap.bleu.bleu import Bleu  # noqa: PLC0415 - an extra
    from pycocoevalcap.cider.cider import Cider  # noqa: PLC0415
    from pycocoevalcap.rouge.rouge import Rouge  # noqa: PLC0415

    if not written or written.keys() != references.keys() or not all(references.values()):
        raise ValueError("captions and references are not of the same images, or of none")
    said = {image: [tokenize(text)] for image, text in written.items()}
    wanted = {image: [tokenize(text) for text in references[image]] for image in said}
    cider, of_images = Cider().compute_score(wanted, said)
    bleus, _ = Bleu(4).compute_score(wanted, said, verbose=0)
    rouge, _ = Rouge().compute_score(wanted, said)
    measures = dict(zip(CAPTION_METRICS, map(float, (cider, *bleus, rouge)), strict=True))
    return Scored(measures, dict(zip(wanted, map(float, of_images), strict=True)))
