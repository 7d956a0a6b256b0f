"""VQA accuracy: by hand, and as an evaluation that is written anew from the rules has it, person by person."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from stages.metrics.contractions import CONTRACTIONS
from stages.metrics.vqa import normalise, normalise_punctuation, vqa_accuracy

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]


@pytest.mark.parametrize(("agree", "wanted"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)])
def test_by_how_many_of_ten_agree(agree: int, wanted: float) -> None:
    given = {"red": agree} | {f"other {number}": 1 for number in range(10 - agree)}
    assert vqa_accuracy("Red.", {answer: count for answer, count in given.items() if count}) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("The  Dog.\n", "dog"),
        ("two dogs and an apple", "2 dogs and apple"),
        ("none", "0"),
        ("dont", "don't"),
        ("somebody'd", "somebodyd"),
        ("black-and-white", "black and white"),  # no blank beside a mark: blanks
        ("black - and-white", "black andwhite"),  # one somewhere: they all go
        ("1,000 t-shirts", "1000 tshirts"),  # digits around a comma: all marks go
        ("1.5 m.", "1.5 m"),  # a full stop before a digit stays
        ("u.s. no.1", "us no.1"),
        ("." * 40, "." * 8),  # at most 32 go
        ("10:30", "10:30"),  # a colon is no mark
        ("im", "im"),  # the table has it with a capital, which nothing is then
    ],
)
def test_normalised_by_hand(answer: str, wanted: str) -> None:
    assert normalise(answer) == wanted


def test_peoples_answers_lose_marks_alone_and_only_where_they_differ() -> None:
    assert vqa_accuracy("it's 5-6", {"it's 5-6": 10}) == 0.0  # `5 6` is none of what they said, letter by letter
    assert vqa_accuracy("it's 5-6", {"it's 5-6": 9, "5": 1}) == 1.0
    assert vqa_accuracy("the dog", {"The dog": 5, "dog": 5}) == 1.0
    assert vqa_accuracy("the dog", {"The dog": 9, "cat": 1}) == 0.0  # their articles and capitals stay
    assert vqa_accuracy("a b", {"a-b": 2, "b": 2, "c": 6}) == pytest.approx(0.6)


def test_answers_that_are_equal_once_cleaned_count_together() -> None:
    assert vqa_accuracy("b c", {"b-c": 2, "b/c": 2, "d": 6}) == 1.0


def naive(answer: str, ten: list[str]) -> float:
    """From the rules, person by person."""

    def marks(text: str) -> str:
        beside = [mark for mark in MARKS if re.search(f" {re.escape(mark)}|{re.escape(mark)} ", text)]
        gone = MARKS if re.search("[0-9],[0-9]", text) else beside
        out = "".join("" if letter in gone else " " if letter in MARKS else letter for letter in text)
        left, kept = 32, ""
        for place, letter in enumerate(out):
            if letter == "." and left and not out[place + 1 : place + 2].isdigit():
                left -= 1
            else:
                kept += letter
        return kept

    numbers = {word: number for number, word in enumerate(NUMBERS)}
    said = marks(answer.replace("\n", " ").replace("\t", " ").strip()).lower().split()
    said = [str(numbers.get("zero" if word == "none" else word, word)) for word in said]
    mine = " ".join(CONTRACTIONS.get(word, word) for word in said if word not in ("a", "an", "the"))
    people = [marks(one) for one in ten] if len(set(ten)) > 1 else ten
    scores = []
    for person in range(len(people)):
        others = people[:person] + people[person + 1 :]
        scores.append(min(1, sum(other == mine for other in others) / 3))
    return sum(scores) / len(scores)


def test_as_the_rules_written_anew_have_it() -> None:
    rng = random.Random(0)
    pieces = [*"15 0,.-/?!:'", "red", "dont", "two", "the", "a", " ", "it's", "\t"]
    told = []
    for _ in range(3000):
        pool = ["".join(rng.choices(pieces, k=rng.randint(1, 5))) for _ in range(4)]
        ten = rng.choices(pool, weights=[6, 3, 2, 1], k=10)
        answer = rng.choice([*pool, normalise_punctuation(pool[0])])
        found = vqa_accuracy(answer, Counter(ten))
        assert found == pytest.approx(naive(answer, ten)), (answer, ten)
        told.append(found)
    assert len({round(value, 1) for value in told}) >= 5
