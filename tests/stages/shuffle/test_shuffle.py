from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from committed import WRITER, only, write
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.contract import RunOptions, Shard
from stages.shuffle.compute import ALONE, Shuffle, shuffled
from stages.shuffle.spec import SPEC, ShuffleRecipe
from stages.tables import CAPTIONS, DUPLICATES, IMAGES, URLS

WORDS = ["a dog", "A  dog", "a cat", "two birds", "STRASSE", "straße"]
SAID = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.lists(st.sampled_from(WORDS), max_size=3))


def form(text: str) -> str:
    return " ".join(text.split()).casefold()


@settings(max_examples=50)
@given(SAID, st.integers(0, 3), st.randoms(use_true_random=False))
def test_it_is_a_text_of_another_image_wherever_the_image_stands(
    said: Mapping[str, list[str]], seed: int, chance: random.Random
) -> None:
    found = shuffled(said, seed)
    assert found.keys() == {key for key, texts in said.items() if texts}
    for key, text in found.items():
        own = {form(said_of_it) for said_of_it in said[key]}
        others = {other for texts in said.values() for other in texts if form(other) not in own}
        assert text in others if others else text is None
    order = list(said)
    chance.shuffle(order)
    assert shuffled({key: said[key] for key in order}, seed) == found


def test_nearly_every_image_gives_one_and_each_seed_gives_others() -> None:
    said = {f"key-{number}": [f"text {number}"] for number in range(500)}
    one, other = shuffled(said, 0), shuffled(said, 1)
    assert set(one.values()) == {text for (text,) in said.values()}  # nobody is left out, where no two are the same
    assert sum(one[key] == other[key] for key in said) < 20


def test_an_image_more_changes_one_text_and_adds_one() -> None:
    said = {f"key-{number}": [f"text {number}"] for number in range(100)}
    before, after = shuffled(said, 0), shuffled(said | {"new": ["a new text"]}, 0)
    assert sum(before[key] != after[key] for key in said) == 1


def shard(folder: Path, rows: list[tuple[str, list[str] | None, str]], copies: list[str]) -> Shard:
    """Keys, texts and statuses; and which of them are copies."""
    urls = [{"key": key, "source": "people", "texts": texts} for key, texts, _ in rows]
    images = [{"key": key, "status": status, "retry": 0} for key, _, status in rows]
    verdicts = [{"key": key, "shard": "s", "original": "o", "rule": "url"} for key in copies]
    tables = {
        "urls": write(folder / "urls", urls, URLS),
        "images": write(folder / "images", images, IMAGES),
        "duplicates": write(folder / "duplicates", verdicts, DUPLICATES),
    }
    return Shard(only(tables), "s", folder, WRITER)


def test_a_candidate_for_every_image_that_has_texts_and_is_there(tmp_path: Path) -> None:
    rows = [
        ("a", [" one ", ""], "success"),
        ("b", ["two"], "timeout"),  # gives its text all the same, so that what came makes no difference
        ("c", [], "success"),
        ("d", None, "success"),
        ("e", ["one", "two"], "success"),
        ("f", ["two"], "success"),
    ]
    output = Shuffle(ShuffleRecipe(), RunOptions())(shard(tmp_path, rows, copies=["f"]))
    assert output.table.schema == CAPTIONS
    alone = {"caption": "", "error": ALONE}
    expected = [{"key": "a", "caption": "two", "error": None}, {"key": "e", **alone}]
    same = {"writer": WRITER, "candidate": 0, "origin": "shuffled", "logprob": None}
    assert output.table.to_pylist() == [{**same, **row} for row in expected]
    assert dict(output.counts) == {"images": 2, "alone": 1}


def test_images_of_other_rows_are_refused(tmp_path: Path) -> None:
    good = shard(tmp_path, [("a", ["x"], "success")], [])
    other = write(tmp_path / "other", [{"key": "b", "status": "success", "retry": 0}], IMAGES)
    with pytest.raises(ValueError, match="row by row"):
        Shuffle(ShuffleRecipe(), RunOptions())(Shard({**good.inputs, "images": (other,)}, "s", tmp_path))
    assert SPEC.uses == {"pairs", "both"}
