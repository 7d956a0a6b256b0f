"""What bootstrapping gives on the demo's world, on images that no training saw: the paper's arms, and more.

    python tests/benchmarks/bootstrap.py [--seeds 1 2 3] [--arms C+F ...] [--report]

An arm is `manifests/bootstrap.yaml` with other values (`--set`); what arms have in common is computed once, and each
can be stopped and goes on. `none` is what every arm measures before its first round: the same models, pretrained on the
raw web. A seed is another world (other images, other texts, other noise) and other weights. `--report` only tells what
is there.

Printed, for every arm: the share of judged texts that the filter rejected (noise); of the kept captions, those that are
right; and on the held-out images the recall at 1, the mean of both directions, of the pretrained model as it is and of
the fine-tuned one, and the captions that are right. With several seeds, the mean, the standard deviation over the
seeds, and the gain over `none`. The same as points, in `bootstrap.png`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd

from stages.demo.language import is_right
from stages.demo.scene import Scene

mpl.use("Agg")
MANIFEST: Final = Path("manifests/bootstrap.yaml")
NONE: Final = "none"
WHOLE: Final = "C+F"
_UNFILTERED: Final = ("rounds.filter=null", "rounds.select.itm_threshold=null")
_BEAMS: Final = ("rounds.caption.beams=3",)
_SHARED: Final = (
    "captioner.task=[captioning, retrieval]",
    "captioner.queue=4096",
    "rounds.filter.model={from: captioner}",
)
_SECOND: Final = "{stage: caption, model: {from: captioner}, candidates: 1, top_p: 0.9, temperature: 1.3, seed: 7}"
ARMS: Final[Mapping[str, tuple[str, ...]]] = {
    WHOLE: (),
    "F": ("rounds.caption=null",),
    "C": _UNFILTERED,
    "C+F, beam search": _BEAMS,
    "C+F, one model for both": _SHARED,
    "C+F, two rounds": ("rounds.times=2",),
    "C+F, two captioners": (f"rounds.caption_2={_SECOND}",),
}
"""What each sets in the manifest."""
MEASURES: Final = {
    "noise": "texts rejected",
    "kept right": "kept captions right",
    "pretrained R@1": "R@1, pretrained",
    "R@1": "R@1, fine-tuned",
    "right": "captions right",
}
HELD_OUT: Final = ("pretrained R@1", "R@1", "right")
"""What is measured on images that no training saw, by which arms are compared."""
Numbers = dict[str, float]


def main() -> None:
    """Run what is not there yet, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, "all"], default=[WHOLE])
    parser.add_argument("--output", type=Path, default=Path("out-bootstrap"))
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args()
    arms = list(ARMS) if "all" in options.arms else options.arms
    found: dict[str, list[Numbers]] = defaultdict(list)
    for seed in options.seeds:
        place = options.output / str(seed)
        for arm in arms:
            changes = [*of_seed(place, seed), *ARMS[arm]]
            if not options.report:
                run(arm, seed, changes)
            rounds = measure(place, changes)
            if arm == arms[0]:
                found[NONE].append(rounds.pop(0))
            found[arm].append(rounds.pop())
    say(f"\nseeds {', '.join(map(str, options.seeds))}; shares in percent")
    for line in table(found):
        say(line)
    draw(found, options.output / "bootstrap.png")


def of_seed(place: Path, seed: int) -> list[str]:
    """What a seed sets in the manifest."""
    world = place / "world"
    return [
        f"output={place / 'run'}",
        f"demo.folder={world}",
        f"demo.seed={seed}",
        f"sources.web.path={world / 'laion.parquet'}",
        *(f"sources.{name}.path={world / 'human/dataset_coco.json'}" for name in ("human", "human_test")),
        *(f"sources.{name}.images={world / 'human'}" for name in ("human", "human_test")),
        *(f"{step}.seed={seed}" for step in ("med", "captioner", "matcher", "rounds.caption")),
    ]


def run(arm: str, seed: int, changes: Sequence[str]) -> None:
    """Run an arm, or what of it is not done."""
    began = time.monotonic()
    capfilt("run", changes)
    say(f"{arm}, seed {seed}: {(time.monotonic() - began) / 60:.1f} min")


def measure(place: Path, changes: Sequence[str]) -> list[Numbers]:
    """What was measured before the first round, and in every round."""
    scenes = read_scenes(place / "world/truth.parquet")
    found: dict[int, Numbers] = defaultdict(dict)
    for step, name, value in (*noise(changes), *kept(changes, scenes), *recall(changes), *right(changes, scenes)):
        found[int(step.partition("@")[2] or 0)][name] = 100 * value
    return [found[number] for number in sorted(found)]


def noise(changes: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    """The share of the texts that were judged which the filter rejected, by step."""
    rejected = "count(*) FILTER (reason = 'below_threshold') / count(*) FILTER (reason NOT IN ('human', 'empty'))"
    sql = f"SELECT made_by, {rejected} AS share FROM raw_select GROUP BY made_by"
    for row in ask(changes, sql):
        yield row["made_by"], "noise", row["share"]


def kept(changes: Sequence[str], scenes: Mapping[str, Scene]) -> Iterator[tuple[str, str, float]]:
    """The share of the captions that were kept of the web's images which are right, by step."""
    rows = ask(changes, """SELECT round, url, caption FROM "round" WHERE origin <> 'human'""")
    yield from shares("kept right", ((row["round"], is_right(row["caption"], scenes[row["url"]])) for row in rows))


def recall(changes: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    """The mean recall at 1 of both directions, by step."""
    sql = "SELECT made_by, avg(recall) AS recall FROM retrieval WHERE k = 1 AND model = 'matcher_itm' GROUP BY made_by"
    for row in ask(changes, sql):
        name = "pretrained R@1" if row["made_by"].startswith("pretrained") else "R@1"
        yield row["made_by"], name, row["recall"]


def right(changes: Sequence[str], scenes: Mapping[str, Scene]) -> Iterator[tuple[str, str, float]]:
    """The share of the held-out images whose caption is right, by step."""
    sql = "SELECT predictions.made_by, urls.file, caption FROM predictions JOIN urls USING (key)"
    rows = ask(changes, sql)
    yield from shares("right", ((row["made_by"], is_right(row["caption"] or "", scenes[row["file"]])) for row in rows))


def shares(name: str, judged: Iterable[tuple[str, bool]]) -> Iterator[tuple[str, str, float]]:
    """The share of what is right, by step."""
    by_step: dict[str, list[bool]] = defaultdict(list)
    for step, is_so in judged:
        by_step[step].append(is_so)
    for step, found in by_step.items():
        yield step, name, statistics.fmean(found)


def read_scenes(path: Path) -> dict[str, Scene]:
    """What every picture of a world shows, by its address or its file."""
    truth = pd.read_parquet(path, columns=["url", "file", "scene"]).drop_duplicates(["url", "file"])
    names = truth["url"].fillna(truth["file"])
    return {name: Scene.from_json(json.loads(scene)) for name, scene in zip(names, truth["scene"], strict=True)}


def table(found: Mapping[str, Sequence[Numbers]]) -> Iterator[str]:
    """A line for every arm: its measures over the seeds, and what it has over `none`."""
    yield f"{'':24}" + "".join(f"{title:>23}" for title in MEASURES.values())
    for arm, seeds in found.items():
        yield f"{arm:24}" + "".join(f"{_spread([one[name] for one in seeds if name in one]):>23}" for name in MEASURES)
    for arm, seeds in found.items():
        for name in HELD_OUT if arm != NONE else ():
            yield f"{arm}, {MEASURES[name]}: {_gain([one[name] for one in seeds], [one[name] for one in found[NONE]])}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{statistics.fmean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def _gain(with_it: Sequence[float], without: Sequence[float]) -> str:
    gain = statistics.fmean(with_it) - statistics.fmean(without)
    if len(with_it) < 2:
        return f"{gain:+.1f} points"
    spread = max(statistics.stdev(with_it), statistics.stdev(without))
    return f"{gain:+.1f} points, {gain / spread:.1f} times the standard deviation over {len(with_it)} seeds"


def draw(found: Mapping[str, Sequence[Numbers]], path: Path) -> None:
    """What was measured on held-out images, a point for every arm and seed."""
    figure, axes = plt.subplots(1, len(HELD_OUT), figsize=(4.2 * len(HELD_OUT), 0.45 * len(found) + 1.6), sharey=True)
    for axis, name in zip(axes, HELD_OUT, strict=True):
        for row, (arm, seeds) in enumerate(found.items()):
            axis.plot([one[name] for one in seeds], [row] * len(seeds), "o", alpha=0.7, color=f"C{int(arm != NONE)}")
        axis.set(title=f"{MEASURES[name]}, %", yticks=range(len(found)), yticklabels=list(found))
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    say(f"drawn: {path}")


def ask(changes: Sequence[str], sql: str) -> list[dict[str, Any]]:
    """What a query of an arm's tables gives."""
    rows: list[dict[str, Any]] = json.loads(capfilt("query", changes, sql, "--json"))
    return rows


def capfilt(command: str, changes: Sequence[str], *more: str) -> str:
    """Run a command of an arm; what it says goes on to the terminal, what it prints comes back."""
    sets = (word for change in changes for word in ("--set", change))
    line = [sys.executable, "-m", "pipeline.cli", command, str(MANIFEST), *more, *sets]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


def say(words: str) -> None:
    """Tell a person."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
