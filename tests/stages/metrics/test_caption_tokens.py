"""The words of captions: stated ones, and those that Stanford's own tokeniser gives where Java is at hand."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.metrics.tokens import PUNCTUATION, tokenize

# what CoreNLP 3.4.1 says with -preserveLines -lowerCase, without coco-caption's list of marks
STATED = {
    "A man's dog can't run, isn't it?": "a man 's dog ca n't run is n't it",
    "the sign says \"STOP\" & 'go'": "the sign says stop & go",
    "a cat (white) sitting [next] to {it}": "a cat -lrb- white -rrb- sitting -lsb- next -rsb- to -lcb- it -rcb-",
    "a 3-year-old boy -- on a two-tier bus...": "a 3-year-old boy on a two-tier bus",
    "at 12:30pm, or 5:30 p.m. on Jan. 5th.": "at 12:30 pm or 5:30 p.m. on jan. 5th",
    "a 50's diner, 1,000 people; $5.00 and 50%": "a 50 's diner 1,000 people $ 5.00 and 50 %",
    "St. John's, No. 5, o'clock, AND/OR": "st. john 's no. 5 o'clock and/or",
    "they cannot; it\u2019s \u201cgonna\u201d rain !!": "they can not it 's gon na rain !!",
    "a dog.The cat": "a dog.the cat",
    "  \u00e9t\u00e9 \u2013 a caf\u00e9\u2026 ": "\u00e9t\u00e9 a caf\u00e9",
    "": "",
}
PIECES = (
    *("a", "man's", "the", "dogs'", "isn't", "can't", "won't", "it's", "they're", "we've", "I'd", "it\u2019s", "boy's"),
    *(
        "black-and-white",
        "t-shirt",
        "3-year-old",
        "two-story",
        "x-ray's",
        "double-decker",
        "and/or",
        "o'clock",
        "don't",
    ),
    *(
        "12:30",
        "p.m.",
        "U.S.",
        "1990's",
        "1950s",
        "2",
        "2nd",
        "1,000",
        "2.5",
        "$5",
        "50%",
        "#1",
        "&",
        "Mr.",
        "St.",
        "vs.",
    ),
    *(
        "cannot",
        "sitting",
        "caf\u00e9",
        "end.The",
        "bus's",
        "surfboard.",
        "skis,",
        "bench;",
        "street:",
        "(white)",
        "[x]",
    ),
    *("'no'", '"stop"', "\u201cgo\u201d", "-", "--", "...", "\u2026", "!", "?", "!!", "who's"),
)


@pytest.mark.parametrize("caption", STATED)
def test_words(caption):
    assert tokenize(caption) == STATED[caption]


def test_marks_that_are_dropped_are_coco_captions():
    listed = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer").PUNCTUATIONS
    assert frozenset(listed) == PUNCTUATION


@pytest.mark.skipif(shutil.which("java") is None, reason="Stanford's tokeniser is in Java")
def test_they_are_stanfords_words(tmp_path: Path):
    module = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    rng = random.Random(0)
    lines = [*filter(None, STATED), *(" ".join(rng.choices(PIECES, k=rng.randint(2, 12))) for _ in range(600))]
    (tmp_path / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    jar = Path(module.__file__).parent / module.STANFORD_CORENLP_3_4_1_JAR
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    options = ["-encoding", "utf-8", str(tmp_path / "captions.txt")]
    said = subprocess.run([*command, *options], capture_output=True, check=True, encoding="utf-8").stdout
    theirs = [" ".join(word for word in line.split() if word not in PUNCTUATION) for line in said.splitlines()]
    assert [tokenize(line) for line in lines] == theirs
