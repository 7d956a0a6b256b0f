"""A step's losses against pair after pair by itself, in double precision; and two workers against one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pair import WORKERS, Pair
from torch.nn.functional import cosine_similarity
from torch.nn.parallel import DistributedDataParallel

from stages.models.qformer.model import QFormer, QFormerConfig, Seen, Text
from stages.pretrain.objective import Batch, LossWeights, Objective
from stages.training.gather import fetch

CONFIG = QFormerConfig(
    vocabulary=40, vision_width=12, queries=3, width=16, layers=3, heads=2, projection=8, max_text_tokens=7, dropout=0.0
)
START, SIZE = 39, 6


def make_objective() -> Objective:
    torch.manual_seed(1)
    model = QFormer(CONFIG).double()
    with torch.no_grad():
        model.queries.mul_(20)  # so that queries, images and texts differ clearly
        model.temperature.fill_(0.2)
    return Objective(model, START)


def make_batch() -> Batch:
    """Six pairs; images 1 and 4 are the same, texts have all lengths."""
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(SIZE, 5, CONFIG.vision_width, generator=generator, dtype=torch.float64)
    features[4] = features[1]
    ids = torch.randint(3, START, (SIZE, 7), generator=generator)
    real = torch.arange(7)[None] < torch.tensor([7, 3, 5, 4, 6, 2])[:, None]
    uniforms = torch.rand(2, SIZE, SIZE, generator=generator, dtype=torch.float64)
    return Batch(features, Text(ids, real), torch.tensor([10, 11, 12, 13, 11, 14]), uniforms, 0)


def part(batch: Batch, rank: int) -> Batch:
    rows = slice(rank * SIZE // WORKERS, (rank + 1) * SIZE // WORKERS)
    text = Text(batch.text.ids[rows], batch.text.real[rows])
    return Batch(batch.features[rows], text, batch.images[rows], batch.uniforms[:, rows], rows.start)


class PairByPair:
    """The same by loops: one image and one text at a time, texts without padding, nothing shared between passes."""

    def __init__(self, objective: Objective, batch: Batch) -> None:
        self.model, self.batch = objective.model, batch
        self.similarity = torch.stack([torch.stack([self.compare(i, t) for t in range(SIZE)]) for i in range(SIZE)])
        self.logits = self.similarity / self.model.temperature

    def text(self, row: int) -> Text:
        length = int(self.batch.text.real[row].sum())
        return Text(self.batch.text.ids[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))

    def look(self, row: int) -> Seen:
        return self.model.look(self.batch.features[row : row + 1])

    def compare(self, image: int, text: int) -> torch.Tensor:
        said = self.model.text_projection(self.model.encode_text(self.text(text))[0, 0])
        seen = self.model.image_projection(self.model.encode_image(self.look(image))[0])
        return torch.stack([cosine_similarity(query, said, dim=0) for query in seen]).max()

    def same(self, one: int, other: int) -> bool:
        return bool(self.batch.images[one] == self.batch.images[other])

    def itc(self) -> torch.Tensor:
        ways = []
        for logits in (self.logits, self.logits.T):
            for row in range(SIZE):
                told = [column for column in range(SIZE) if column == row or not self.same(row, column)]
                log_probability = logits[row, told].log_softmax(0)
                ways.append(-0.9 * log_probability[told.index(row)] - 0.1 * log_probability.mean())
        return torch.stack(ways).mean()

    def wrong(self, logits: torch.Tensor, row: int, uniforms: torch.Tensor) -> int:
        others = [column for column in range(SIZE) if not self.same(row, column)]
        return max(others, key=lambda column: logits[row, column].item() - math.log(-math.log(uniforms[row, column])))

    def pairs(self) -> list[tuple[int, int, int]]:
        """(image, text, label)."""
        texts = [self.wrong(self.logits, row, self.batch.uniforms[0]) for row in range(SIZE)]
        images = [self.wrong(self.logits.T, row, self.batch.uniforms[1]) for row in range(SIZE)]
        rows = range(SIZE)
        return [(i, i, 1) for i in rows] + [(i, texts[i], 0) for i in rows] + [(images[t], t, 0) for t in rows]

    def itm(self) -> torch.Tensor:
        told = [-self.model.match(self.look(i), self.text(t))[0].log_softmax(0)[label] for i, t, label in self.pairs()]
        return torch.stack(told).mean()

    def itg(self) -> torch.Tensor:
        told = []
        for row in range(SIZE):
            text = self.text(row)
            for length in range(1, text.ids.shape[1]):
                spoken = text.ids[:, :length].clone()
                spoken[0, 0] = START
                _, words = self.model.caption(self.look(row), Text(spoken, text.real[:, :length]))
                log_probability = words[0, -1].log_softmax(0)
                told.append(-0.9 * log_probability[text.ids[0, length]] - 0.1 * log_probability.mean())
        return torch.stack(told).mean()


def test_the_losses_are_those_of_pair_after_pair() -> None:
    objective, batch = make_objective(), make_batch()
    naive = PairByPair(objective, batch)
    found = objective(batch)
    assert found.itc.item() == pytest.approx(naive.itc().item(), abs=1e-9)
    assert found.itm.item() == pytest.approx(naive.itm().item(), abs=1e-9)
    assert found.itg.item() == pytest.approx(naive.itg().item(), abs=1e-9)
    assert len({pair for pair in naive.pairs() if not pair[2]}) > SIZE


def test_a_loss_counts_what_its_weight_says() -> None:
    objective, batch = make_objective(), make_batch()
    alike = objective(batch)
    objective.weights = LossWeights(itc=0.5, itm=2.0, itg=0.0)
    found = objective(batch)
    assert found[1:] == alike[1:]
    assert found.loss.item() == pytest.approx(0.5 * alike.itc.item() + 2.0 * alike.itm.item(), abs=1e-12)


def gradients(objective: Objective) -> dict[str, torch.Tensor]:
    found = {name: value.grad for name, value in objective.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def train_part(rank: int, folder: Path) -> None:
    """One of the workers."""
    objective, batch = make_objective(), part(make_batch(), rank)
    shared = DistributedDataParallel(objective)
    losses = shared(batch)
    losses.loss.backward()
    half = torch.arange(SIZE * 3, dtype=torch.bfloat16).view(SIZE, 3)[rank * 3 : rank * 3 + 3]
    fetched = fetch(half, torch.tensor([[5, 0, 5], [1, 1, 0]])[rank])
    torch.save((gradients(objective), list(losses), fetched), folder / f"worker-{rank}.pt")


def test_two_workers_have_the_losses_and_gradients_of_one(pair: Pair, tmp_path: Path) -> None:
    pair.together(train_part, tmp_path)
    objective = make_objective()
    losses = objective(make_batch())
    losses.loss.backward()
    expected, found = gradients(objective), [torch.load(tmp_path / f"worker-{rank}.pt") for rank in range(WORKERS)]
    for worker, _, _ in found:
        assert set(worker) == set(expected)
        for name, gradient in expected.items():
            torch.testing.assert_close(worker[name], gradient, rtol=0, atol=1e-10, msg=name)
    for number, loss in enumerate(losses):
        assert torch.stack([told[number] for _, told, _ in found]).mean().item() == pytest.approx(loss.item(), abs=1e-9)
    rows = torch.arange(SIZE * 3).view(SIZE, 3).tolist()
    assert found[0][2].tolist() == [rows[5], rows[0], rows[5]]
    assert found[1][2].tolist() == [rows[1], rows[1], rows[0]]
