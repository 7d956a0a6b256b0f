"""CIDEr-D, BLEU and ROUGE-L against pycocoevalcap's modules themselves, and against values worked out by hand."""

from __future__ import annotations

import math
import random

import pytest

from stages.metrics import captions
from stages.metrics.tokens import tokenize

pytest.importorskip("pycocoevalcap", reason="the extra `metrics`")

WORDS = ["a", "the", "man", "woman", "dog", "red", "on", "in", "with", "two", "sitting", "running", "street", "table"]


def made(images: int, seed: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Images with five references each, and captions that share some of their words."""
    rng = random.Random(seed)
    references = {
        str(image): [" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in range(5)] for image in range(images)
    }
    written = {}
    for image, texts in references.items():
        words = rng.choice(texts).split()
        kept = [word if rng.random() < 0.7 else rng.choice(WORDS) for word in words[: rng.randint(0, 12)]]
        written[image] = " ".join(kept)
    return written, references


@pytest.mark.parametrize("seed", [0, 1])
def test_they_are_pycocoevalcaps_own_called_directly(seed, capsys):
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider_scorer import CiderScorer
    from pycocoevalcap.rouge.rouge import Rouge

    written, references = made(220, seed)
    cider, bleu = CiderScorer(n=4, sigma=6.0), BleuScorer(n=4)
    for image, texts in references.items():
        cider += (written[image], texts)
        bleu += (written[image], texts)
    rouge = [Rouge().calc_score([written[image]], texts) for image, texts in references.items()]
    of_set, each = cider.compute_score()
    expected = [of_set, *bleu.compute_score(option="closest", verbose=0)[0], sum(rouge) / len(rouge)]
    found, of_images = captions.score(written, references)
    assert list(found) == list(captions.CAPTION_METRICS)
    assert list(found.values()) == pytest.approx(expected, rel=1e-12)
    assert list(of_images) == list(references)
    assert list(of_images.values()) == pytest.approx(list(each), rel=1e-12)
    assert all(0.01 < value < 10 for value in expected)
    assert capsys.readouterr().out == ""


def test_by_hand_on_three_images():
    """Three images with one reference of two words each, so that all can be worked out on paper.

    idf: "dog" stands in one of three references, ln 3; "a" in all, ln 1 = 0; "a dog" in one, ln 3, and so on. Image 1
    has its reference's words: cosine 1 for words and for pairs of words; there are no longer n-grams, so CIDEr-D is
    10 x (1 + 1 + 0 + 0) / 4 = 5. Image 2 has another one's: 0. Image 3 says "a bird bird" for "a bird": of words
    min(2 ln 3, ln 3) ln 3 / (2 ln 3 x ln 3) = 1/2; of pairs, "bird bird" is in no reference and weighs ln 3 as "a bird"
    does, so (ln 3)^2 / (sqrt(2) (ln 3)^2) = 0.7071; lengths differ by one: exp(-1 / 72).
    """
    references = {"1": ["A dog."], "2": ["A cat."], "3": ["A bird."]}
    written = {"1": "a dog", "2": "a dog", "3": "a bird bird"}
    third = 10 / 4 * (0.5 + math.sqrt(0.5)) * math.exp(-1 / 72)
    # words that are right: 2 + 1 + 2 of 7 written, of 6 in the references: no penalty for being short
    # pairs of words: 1 + 0 + 1 of 4; three or four words: none
    precisions = [5 / 7, 2 / 4]
    # ROUGE-L: longest common parts 2, 1, 2; precision and recall 1, 1; 1/2, 1/2; 2/3, 1
    longest = [1, 0.5, (1 + 1.2**2) * (2 / 3) / (1 + 1.2**2 * 2 / 3)]
    found, of_images = captions.score(written, references)
    assert of_images == pytest.approx({"1": 5, "2": 0, "3": third}, rel=1e-12)
    assert found["CIDEr-D"] == pytest.approx((5 + 0 + third) / 3, rel=1e-12)
    assert found["BLEU-1"] == pytest.approx(precisions[0], rel=1e-6)
    assert found["BLEU-2"] == pytest.approx(math.sqrt(precisions[0] * precisions[1]), rel=1e-6)
    assert found["BLEU-4"] < 1e-3
    assert found["ROUGE-L"] == pytest.approx(sum(longest) / 3, rel=1e-12)


def test_marks_and_capitals_do_not_matter_and_equal_references_count_each():
    plain = captions.score({"1": "a dog is here", "2": "two cats"}, {"1": ["a dog is here"], "2": ["two cats"]})
    assert (
        captions.score({"1": 'A "dog" is here!', "2": "Two cats."}, {"1": ["A dog - is here."], "2": ["two cats"]})
        == plain
    )
    twice = {"1": ["a dog", "a dog", "the animal"], "2": ["two cats"]}
    once = {**twice, "1": ["a dog", "the animal"]}
    written = {"1": "a dog", "2": "cats"}
    assert captions.score(written, twice).cider != captions.score(written, once).cider


def test_sets_that_do_not_fit_are_refused():
    for written, references in [({}, {}), ({"1": "a"}, {"2": ["a"]}), ({"1": "a"}, {"1": []})]:
        with pytest.raises(ValueError, match="not of the same images"):
            captions.score(written, references)


def test_an_empty_caption_scores_nothing():
    found, _ = captions.score({"1": "", "2": "a cat"}, {"1": ["a dog runs"], "2": ["a cat"]})
    assert found["ROUGE-L"] == pytest.approx(0.5)
    assert tokenize("...") == ""
