"""Blocks against whole tables of scores: ranks with ties, candidates, and the chance that the view tells."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from types import SimpleNamespace

import pyarrow as pa
import pytest
import shown
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluate.benchmark import Benchmark
from stages.evaluate.embed import ImageBatch
from stages.evaluate.rerank import rerank
from stages.evaluate.similarity import BothWays, Embeddings, compare, find_candidates
from stages.evaluate.spec import TOLD
from stages.evaluate.tables import RANKS
from stages.models.finite import NumberFormat
from stages.models.qformer.model import Text, similarities

UNHURRIED = settings(deadline=None, max_examples=40)
Scores = list[list[float]]


def benchmark_of(images: int, texts: int, pairs: set[tuple[int, int]]) -> Benchmark:
    names = tuple(map(str, range(texts)))
    codes = torch.tensor(sorted(image * texts + text for image, text in pairs))
    return Benchmark({str(image): image for image in range(images)}, names, names, codes)


@st.composite
def sets(draw) -> tuple[Benchmark, set[tuple[int, int]], Embeddings]:
    """A set with several captions per image and captions of several images, and scores of which many are equal."""
    images, texts = draw(st.integers(1, 24)), draw(st.integers(1, 30))
    rng = draw(st.randoms(use_true_random=False))
    pairs = {(image, rng.randrange(texts)) for image in range(images)}
    pairs |= {(rng.randrange(images), text) for text in range(texts)}
    values = [[[rng.randint(-2, 2) for _ in range(3)] for _ in range(2)] for _ in range(images)]
    words = [[rng.randint(-2, 2) for _ in range(3)] for _ in range(texts)]
    return (
        benchmark_of(images, texts, pairs),
        pairs,
        Embeddings(torch.tensor(values).float(), torch.tensor(words).float()),
    )


def table(embeddings: Embeddings) -> Scores:
    """Every image against every text: the best query's product."""
    return [
        [
            max(sum(a * b for a, b in zip(query, text, strict=True)) for query in image)
            for text in embeddings.texts.tolist()
        ]
        for image in embeddings.images.tolist()
    ]


def transposed(scores: Scores) -> Scores:
    return [list(column) for column in zip(*scores, strict=True)]


def naive_rank(of_query: dict[int, float], correct: set[int]) -> int | None:
    """One more than the wrong answers that score as high as the best right one; None where there is no right one."""
    found = [score for answer, score in of_query.items() if answer in correct]
    ahead = [answer for answer, score in of_query.items() if answer not in correct and found and score >= max(found)]
    return len(ahead) + 1 if found else None


def whole(scores: Scores) -> list[dict[int, float]]:
    return [dict(enumerate(row)) for row in scores]


def rights(pairs: set[tuple[int, int]], images: int, texts: int) -> tuple[list[set[int]], list[set[int]]]:
    of_images = [{text for other, text in pairs if other == image} for image in range(images)]
    return of_images, [{image for image, other in pairs if other == text} for text in range(texts)]


def assert_ranks(found: BothWays, expected: tuple[list[dict[int, float]], list[dict[int, float]]], right) -> None:
    for ranks, scores, correct in zip(found, expected, right, strict=True):
        assert ranks.ranks() == list(map(naive_rank, scores, correct))


@UNHURRIED
@given(sets(), st.integers(1, 7), st.integers(1, 7))
def test_ranks_in_blocks_are_ranks_over_the_whole_table(given_set, rows, columns):
    benchmark, pairs, embeddings = given_set
    scores = table(embeddings)
    assert similarities(embeddings.images, embeddings.texts).tolist() == scores
    right = rights(pairs, len(embeddings.images), len(embeddings.texts))
    assert_ranks(
        compare(embeddings, benchmark, block=(rows, columns)), (whole(scores), whole(transposed(scores))), right
    )


def best(scores: Scores, k: int) -> list[list[int]]:
    """The k best answers of every query; of equal ones the earlier."""
    return [sorted(range(len(row)), key=lambda answer: (-row[answer], answer))[:k] for row in scores]


class TableOfLogits:
    """ITM by table; an image's features are its number, a text's token is its number."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.asked: list[tuple[int, int]] = []

    def tokens(self, said: Sequence[str]) -> Text:
        return Text(torch.arange(len(said))[:, None], torch.ones(len(said), 1).bool())

    def look(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def match(self, features: torch.Tensor, text: Text) -> torch.Tensor:
        image, texts = int(features), text.ids[:, 0]
        self.asked += [(image, number) for number in texts.tolist()]
        return torch.stack([torch.full((len(texts),), 1e6), self.logits[image, texts]], dim=1)


@UNHURRIED
@given(sets(), st.integers(1, 30), st.integers(1, 7), st.integers(1, 5), st.randoms(use_true_random=False))
def test_reranking_candidates_is_reranking_the_whole_table(given_set, top_k, block, pairs_at_once, rng):
    benchmark, pairs, embeddings = given_set
    images, texts = len(embeddings.images), len(embeddings.texts)
    itc = table(embeddings)
    itm = [[float(rng.randint(-3, 3)) for _ in range(texts)] for _ in range(images)]
    _, candidates = find_candidates(embeddings, benchmark, top_k, block=(block, 8 - block))
    expected = []
    for first, second in ((itc, itm), (transposed(itc), transposed(itm))):
        chosen = best(first, top_k)
        expected.append([{a: first[q][a] + second[q][a] for a in chosen[q]} for q in range(len(first))])
    assert candidates.image_to_text.answers.tolist() == best(itc, top_k)
    assert candidates.text_to_image.answers.tolist() == best(transposed(itc), top_k)
    model = TableOfLogits(torch.tensor(itm))
    models = SimpleNamespace(
        numbers=NumberFormat("pretrain", "float32"),
        retriever=model,
        device=torch.device("cpu"),
    )
    order = torch.randperm(images)
    batches = [ImageBatch(part, part, part[:, None].float()) for part in order.split(4)]
    found = rerank(models, batches, benchmark, candidates, pairs_at_once)
    assert_ranks(found, tuple(expected), rights(pairs, images, texts))
    wanted = {(i, t) for i, of_image in enumerate(best(itc, top_k)) for t in of_image}
    wanted |= {(i, t) for t, of_text in enumerate(best(transposed(itc), top_k)) for i in of_text}
    assert sorted(model.asked) == sorted(wanted), "a candidate was left out, or asked for twice"


@UNHURRIED
@given(sets(), st.randoms(use_true_random=False))
def test_the_order_of_a_set_does_not_matter(given_set, rng):
    benchmark, pairs, embeddings = given_set
    images, texts = (rng.sample(range(size), size) for size in (len(embeddings.images), len(embeddings.texts)))
    moved = benchmark_of(len(images), len(texts), {(images.index(i), texts.index(t)) for i, t in pairs})
    shuffled = Embeddings(embeddings.images[images], embeddings.texts[texts])
    for one, other in zip(compare(embeddings, benchmark), compare(shuffled, moved), strict=True):
        assert sorted(one.ranks()) == sorted(other.ranks())


def test_a_model_that_knows_finds_everything_and_one_that_cannot_tell_finds_nothing():
    size = 40
    benchmark = benchmark_of(size, size, {(number, number) for number in range(size)})
    knows = Embeddings(torch.eye(size)[:, None], torch.eye(size))
    same = Embeddings(torch.ones(size, 1, 4), torch.ones(size, 4))
    assert [ranks.ranks() for ranks in compare(knows, benchmark)] == [[1] * size] * 2
    assert [ranks.ranks() for ranks in compare(same, benchmark)] == [[size] * size] * 2


def told(right: Sequence[int], others: int) -> dict[int, float]:
    """The recalls of chance, of queries with so many right answers among so many."""
    row = {"source": "a", "model": "m", "key": "a-0", "rank": None}
    queries = [{**row, "direction": "image_to_text", "text": None, "right": number} for number in right]
    answers = [{**row, "direction": "text_to_image", "text": number, "right": 1} for number in range(others)]
    rows = shown.recalls(pa.Table.from_pylist(queries + answers, schema=RANKS))
    chance = [row for row in rows if row["model"] == "chance" and row["direction"] == "image_to_text"]
    return {row["k"]: row["recall"] for row in chance}


@pytest.mark.parametrize(("answers", "right"), [(7, [1, 3, 7, 2]), (6, [2]), (3, [1, 1, 2]), (1, [1])])
def test_chance_is_the_mean_over_all_orders(answers, right):
    orders = list(permutations(range(answers)))
    for k, recall in told(right, answers).items():
        hits = sum(any(answer < found for answer in order[:k]) for found in right for order in orders)
        assert recall == pytest.approx(float(Fraction(hits, len(orders) * len(right))), rel=1e-12)


def test_chance_of_cocos_test_set():
    found = told([5] * 5000, 25_000)
    assert found[1] == pytest.approx(5 / 25_000, rel=1e-9)
    misses = Fraction(1)
    for place in range(10):
        misses *= Fraction(25_000 - 5 - place, 25_000 - place)
    assert found[10] == pytest.approx(float(1 - misses), rel=1e-9)


def test_a_query_counts_at_every_k_from_its_rank_on_and_one_that_was_not_found_at_none():
    row = {"source": "a", "model": "m", "direction": "image_to_text", "key": "a-0", "text": None, "right": 1}
    table = pa.Table.from_pylist([{**row, "rank": rank} for rank in (1, 1, 2, 5, 6, 10, 11, None)], schema=RANKS)
    found = {row["k"]: row["recall"] for row in shown.recalls(table) if row["model"] == "m"}
    assert found == {1: 2 / 8, 5: 4 / 8, 10: 6 / 8}
    assert set(found) == set(TOLD)
