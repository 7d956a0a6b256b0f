"""What bootstrapping is worth: the same Q-Former trained on the raw web texts and on the bootstrapped corpus.

    capfilt run manifests/quickstart.yaml
    python tests/benchmarks/ablation.py [--manifest manifests/quickstart.yaml] [--seeds 3] [--steps 300]

Both trainings see the same images of the manifest's web sources, and no pair that people annotated. One reads the web
text of each (candidate 0), the other what was kept of all candidates. Recipe, steps and seeds are those of the manifest
but for what is given here; the measure is that of the manifest's `evaluate`, on pairs that people annotated.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.listing import list_corpus, source_folders
from pipeline.session import Session, open_session
from stages.contract import CorpusJob, CorpusShard, Result
from stages.evaluate.compute import Evaluate
from stages.pretrain.compute import Pretrain
from stages.shards import Artifact

BESIDE = ("mean_pooled", "clip_zero_shot", "chance")
Scores = dict[tuple[str, str], float]
"""Recall at 1 by model and direction, the mean over the sets."""


def raw(shard: CorpusShard, folder: Path) -> CorpusShard:
    """The shard with the web text of every image kept, and nothing else."""
    table = shard.select.table()
    kept = pc.and_(pc.equal(table["candidate"], 0), pc.not_equal(table["reason"], "empty"))
    rank = pa.array(np.ones(len(table), np.int16), mask=~kept.to_numpy())
    table = table.set_column(table.column_names.index("kept"), "kept", kept)
    table = table.set_column(table.column_names.index("rank"), "rank", rank)
    path = folder / f"{shard.source}-{shard.shard}.parquet"
    pq.write_table(table, path)
    return replace(shard, inputs={**shard.inputs, "select": Artifact(str(path))})


def corpus_of(session: Session, stage: str) -> tuple[CorpusShard, ...]:
    """The shards that a stage reads."""
    return list_corpus(session.store, source_folders(session.graph.nodes[stage], session.graph, session.store))


def measure(session: Session, corpus: tuple[CorpusShard, ...], seed: int, steps: int) -> Scores:
    """Train on a corpus, and measure."""
    node, judge = session.graph.nodes["pretrain"], session.graph.nodes["evaluate"]
    recipe = node.recipe.model_copy(update={"seed": seed, "steps": steps})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = Pretrain(recipe, node.run)(CorpusJob(corpus, str(folder / "checkpoints"), folder))
        weights = made.sides["safetensors"]
        table = made.table.replace_schema_metadata({"side.safetensors": str(weights)})
        pq.write_table(table, folder / "pretrain.parquet")
        results = {"pretrain": Result(Artifact(str(folder / "pretrain.parquet")), recipe)}
        work = CorpusJob(corpus_of(session, "evaluate"), str(folder / "judge"), folder, results)
        rows = Evaluate(judge.recipe, judge.run)(work).table.to_pylist()
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["k"] == 1:
            found.setdefault((row["model"], row["direction"]), []).append(row["recall"])
    return {key: statistics.mean(values) for key, values in found.items()}


def main() -> None:
    """Print recall at 1 for both corpora, mean and range over the seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--manifest", type=Path, default=Path("manifests/quickstart.yaml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    session = open_session(args.manifest)
    web = tuple(shard for shard in corpus_of(session, "pretrain") if "caption" in shard.inputs)
    with tempfile.TemporaryDirectory() as name:
        trained_on: dict[str, tuple[CorpusShard, ...]] = {
            "raw web texts": tuple(raw(shard, Path(name)) for shard in web),
            "bootstrapped": web,
        }
        for corpus, shards in trained_on.items():
            found = [measure(session, shards, seed, args.steps) for seed in range(args.seeds)]
            print_rows(corpus, found)


def print_rows(corpus: str, found: list[Scores]) -> None:
    """A line per direction of the re-ranked model, and beside it what needs no training."""
    for way in ("image_to_text", "text_to_image"):
        values = [scores["qformer_itm", way] for scores in found]
        others = ", ".join(f"{model} {found[0][model, way]:.3f}" for model in BESIDE)
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"{corpus:14} {way:14} R@1 {statistics.mean(values):.3f} ({spread}); {others}", flush=True)


if __name__ == "__main__":
    main()
