"""What bootstrapping is worth: the same Q-Former trained on the raw web texts and on the bootstrapped corpus.

    capfilt run manifests/quickstart.yaml
    python tests/benchmarks/ablation.py [--manifest manifests/quickstart.yaml] [--seeds 3] [--steps 800] [--plot FILE]

Both trainings see the same images of the manifest's web sources, and no pair that people annotated. One reads the web
text of each (candidate 0), the other what was kept of all candidates. Recipe, steps and seeds are the same for both:
the manifest's, but with as many steps as ITM needs to leave its prior, and a learning rate that gets it there; the
measure is that of the manifest's `evaluate`, on pairs that people annotated.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dag.listing import list_corpus, source_folders
from pipeline.session import Session, open_session
from stages.contract import CorpusJob, CorpusShard, Result
from stages.evaluate.compute import Evaluate
from stages.io.shards import Artifact
from stages.models.qformer.tokens import Tokens
from stages.pretrain.compute import Pretrain

BESIDE = ("clip_zero_shot", "mean_pooled", "chance")
"""What is measured without training."""
WAYS = ("image_to_text", "text_to_image")
LOSSES = ("itc", "itm", "itg")
LAST = 50
"""Steps at the end of a training over which its losses are averaged."""
RECIPE = {"lr": 2e-3, "warmup": 100}
Scores = dict[tuple[str, str], float]
"""Recall at 1 by model and direction, the mean over the sets."""


@dataclass(frozen=True)
class Outcome:
    """Of one training."""

    scores: Scores
    losses: dict[str, np.ndarray]
    """By loss, its value at every step."""

    def last(self, loss: str) -> float:
        """What a loss has come to."""
        return float(self.losses[loss][-LAST:].mean())


def raw(shard: CorpusShard, folder: Path) -> CorpusShard:
    """The shard with the web text of every image kept, and nothing else."""
    table = shard.one("selection").table()
    kept = pc.and_(pc.equal(table["candidate"], 0), pc.not_equal(table["reason"], "empty"))
    rank = pa.array(np.ones(len(table), np.int16), mask=~kept.to_numpy())
    table = table.set_column(table.column_names.index("kept"), "kept", kept)
    table = table.set_column(table.column_names.index("rank"), "rank", rank)
    path = folder / f"{shard.source}-{shard.shard}.parquet"
    pq.write_table(table, path)
    return replace(shard, inputs={**shard.inputs, "selection": (Artifact(str(path)),)})


def corpus_of(session: Session, stage: str) -> tuple[CorpusShard, ...]:
    """The shards that a stage reads."""
    return list_corpus(session.store, source_folders(session.graph.nodes[stage], session.graph, session.store))


def measure(session: Session, corpus: tuple[CorpusShard, ...], changes: dict[str, Any]) -> Outcome:
    """Train on a corpus, and measure."""
    node, judge = session.graph.nodes["pretrain"], session.graph.nodes["evaluate"]
    recipe = node.recipe.model_copy(update=changes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = Pretrain(recipe, node.run)(CorpusJob(corpus, str(folder / "checkpoints"), folder))
        told = made.table.replace_schema_metadata({"side.checkpoint": str(made.sides["checkpoint"])})
        pq.write_table(told, folder / "pretrain.parquet")
        results = {"qformer": Result(Artifact(str(folder / "pretrain.parquet")), recipe)}
        judged = corpus_of(session, "evaluate")
        sources = tuple(dict.fromkeys(shard.source for shard in judged))
        work = CorpusJob(judged, str(folder / "judge"), folder, results, sources)
        rows = Evaluate(judge.recipe, judge.run)(work).table.to_pylist()
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["k"] == 1:
            found.setdefault((row["model"], row["direction"]), []).append(row["recall"])
    steps = made.table.filter(pc.equal(made.table["phase"], "train"))
    scores = {key: statistics.mean(values) for key, values in found.items()}
    return Outcome(scores, {loss: steps[loss].to_numpy() for loss in LOSSES})


def chances(recipe: Any) -> dict[str, float]:
    """What the losses are for a model that knows nothing but how often each answer is right."""
    words = Tokens(recipe.tokenizer, recipe.tokenizer_revision, recipe.max_text_tokens).vocabulary
    matching = math.log(3) - 2 / 3 * math.log(2)  # two pairs of three do not match
    return {"itc": math.log(recipe.batch_size / recipe.accumulate), "itm": matching, "itg": math.log(words)}


def print_rows(corpus: str, found: list[Outcome], chance: dict[str, float]) -> None:
    """A line per direction of the re-ranked model and of the embeddings, then the losses beside chance."""
    for model in ("qformer_itm", "qformer_itc"):
        for way in WAYS:
            values = [outcome.scores[model, way] for outcome in found]
            spread = f"{min(values):.3f} to {max(values):.3f}"
            print(f"{corpus:14} {model:14} {way:14} R@1 {statistics.mean(values):.3f} ({spread})")
    for loss in LOSSES:
        values = [outcome.last(loss) for outcome in found]
        print(f"{corpus:14} {loss:14} loss {statistics.mean(values):.3f} (chance {chance[loss]:.3f})", flush=True)


def plot(path: Path, trained: dict[str, list[Outcome]], chance: dict[str, float]) -> None:
    """Recall, a dot per seed, and the course of the losses."""
    mpl.use("agg")
    figure, axes = plt.subplots(1, 4, figsize=(17, 4), width_ratios=(1.3, 1, 1, 1), layout="constrained")
    _plot_recall(axes[0], trained)
    for axis, loss in zip(axes[1:], LOSSES, strict=True):
        for corpus, found in trained.items():
            course = np.mean([outcome.losses[loss] for outcome in found], axis=0)
            smooth = np.convolve(course, np.full(LAST, 1 / LAST), "valid")
            axis.plot(np.arange(LAST, len(course) + 1), smooth, label=corpus)
        axis.axhline(chance[loss], color="grey", linestyle=":", label="chance")
        axis.set(title=f"{loss.upper()} loss, mean of {LAST} steps", xlabel="step", ylim=(0, 1.15 * chance[loss]))
        axis.legend()
    figure.savefig(path, dpi=110)


def _plot_recall(axis: Any, trained: dict[str, list[Outcome]]) -> None:
    width = 1 / (len(trained) + 1)
    for number, (corpus, found) in enumerate(trained.items()):
        values = np.array([[outcome.scores["qformer_itm", way] for way in WAYS] for outcome in found])
        places = np.arange(len(WAYS)) + (number - (len(trained) - 1) / 2) * width
        axis.bar(places, values.mean(axis=0), width, label=corpus, alpha=0.6)
        axis.scatter(np.broadcast_to(places, values.shape), values, color="black", s=12, zorder=3)
    for way, place in zip(WAYS, range(len(WAYS)), strict=True):
        for model, style in zip(BESIDE, ("--", "-.", ":"), strict=True):
            recall = next(iter(trained.values()))[0].scores[model, way]
            label = model if place == 0 else None
            axis.hlines(recall, place - 0.45, place + 0.45, color="grey", linestyle=style, label=label)
    axis.set_xticks(range(len(WAYS)), [way.replace("_", " ") for way in WAYS])
    axis.set(title="R@1 on pairs that people annotated", ylim=(0, 1.35), yticks=np.linspace(0, 1, 6))
    axis.legend(fontsize="small", loc="upper center", ncols=3)


def main() -> None:
    """Train on both corpora with every seed, print mean and range, and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--manifest", type=Path, default=Path("manifests/quickstart.yaml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--plot", type=Path, default=Path("out/ablation.png"))
    args = parser.parse_args()
    session = open_session(args.manifest)
    chance = chances(session.graph.nodes["pretrain"].recipe)
    uses = session.manifest.uses
    web = tuple(shard for shard in corpus_of(session, "pretrain") if uses[shard.source] == "web")
    trained: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory() as name:
        corpora = {"raw web texts": tuple(raw(shard, Path(name)) for shard in web), "bootstrapped": web}
        for corpus, shards in corpora.items():
            recipes = [{**RECIPE, "steps": args.steps, "seed": seed} for seed in range(args.seeds)]
            trained[corpus] = [measure(session, shards, recipe) for recipe in recipes]
            print_rows(corpus, trained[corpus], chance)
    beside = trained["bootstrapped"][0].scores
    for model in BESIDE:
        print(f"{'':14} {model:14} " + ", ".join(f"{way} R@1 {beside[model, way]:.3f}" for way in WAYS))
    plot(args.plot, trained, chance)
    print(f"plot: {args.plot}")


if __name__ == "__main__":
    main()
