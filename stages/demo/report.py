"""What a finished run made of the demo world, held against the truth: `python -m stages.demo.report <world> <output>`.

The pipeline never sees truth.parquet; here, and only here, its tables are joined to it by url.
"""

import argparse
import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from stages.demo.language import is_right
from stages.demo.scene import Scene
from stages.metrics.roc import roc_auc

Numbers = dict[str, float]


def main(arguments: list[str] | None = None) -> None:
    """Print the report as lines for people, or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m stages.demo.report", description=__doc__)
    parser.add_argument("world", type=Path, help="folder of the demo world")
    parser.add_argument("output", type=Path, help="output folder of the run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        numbers = report(options.world, options.output)
    except (FileNotFoundError, duckdb.Error) as problem:
        sys.exit(f"cannot report: {problem}")
    sys.stdout.write(json.dumps(numbers, indent=2) + "\n" if options.json else as_lines(numbers))


def report(world: Path, output: Path) -> Numbers:
    """All numbers of a run."""
    truth = read_truth(world / "truth.parquet")
    catalog = output / "catalog.duckdb"
    if not catalog.exists():
        raise FileNotFoundError(f"{catalog} is not there: has the run finished?")
    with duckdb.connect(str(catalog), read_only=True) as tables:
        captions = judged(tables.execute("SELECT * FROM captions WHERE origin <> 'human'").df(), truth)
        return {
            **of_captions(captions),
            **of_filter(captions),
            **of_corpus(judged(tables.execute("SELECT * FROM corpus WHERE origin <> 'human'").df(), truth)),
            **of_pretraining(tables),
        }


def read_truth(path: Path) -> dict[str, Scene]:
    """The scene behind every url."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: write the world first")
    table = pd.read_parquet(path, columns=["url", "scene"]).dropna()
    return {url: Scene.from_json(json.loads(scene)) for url, scene in zip(table.url, table.scene, strict=True)}


def judged(rows: pd.DataFrame, truth: dict[str, Scene]) -> pd.DataFrame:
    """The rows with a column that says whether the caption is right."""
    strangers = set(rows.url) - set(truth)
    if strangers:
        raise FileNotFoundError(f"the world knows nothing of {len(strangers)} urls of the run, as {min(strangers)}")
    right = [is_right(text, truth[url]) for text, url in zip(rows.caption.fillna(""), rows.url, strict=True)]
    marked: pd.DataFrame = rows.assign(right=np.array(right, dtype=bool))
    return marked


def of_captions(captions: pd.DataFrame) -> Numbers:
    """How good the captioner is."""
    made = captions[captions.origin == "synthetic"]
    images = made.groupby("key")
    return {
        "images": float(images.ngroups),
        "captions right": float(made.right.mean()),
        "images with a right caption": float(images.right.any().mean()),
        "distinct captions of an image": float(images.caption.nunique().mean()),
    }


def of_filter(captions: pd.DataFrame) -> Numbers:
    """How well the filter tells right texts from wrong ones, among those that it has scored."""
    scored = captions.dropna(subset=["itm_score"])
    web, made = scored[scored.origin == "web"], scored[scored.origin == "synthetic"]
    return {
        "web texts right": float(captions[captions.origin == "web"].right.mean()),
        "ROC AUC of ITM on web texts": roc_auc(web.itm_score.to_numpy(), web.right.to_numpy()),
        "ROC AUC of ITM on captions": roc_auc(made.itm_score.to_numpy(), made.right.to_numpy()),
    }


def of_corpus(corpus: pd.DataFrame) -> Numbers:
    """How right the corpus is."""
    return {
        "kept captions": float(len(corpus)),
        "kept captions right": float(corpus.right.mean()),
        "kept web texts right": float(corpus[corpus.origin == "web"].right.mean()),
        "images kept": float(corpus.key.nunique()),
    }


def of_pretraining(tables: duckdb.DuckDBPyConnection) -> Numbers:
    """What the Q-Former has learnt by its last evaluation; nothing if the run did not evaluate one."""
    views = {str(row[0]) for row in tables.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    if "evaluation" not in views:
        return {}
    columns = "step, images, r1_image_to_text, r1_text_to_image, chance"
    last = tables.execute(f"SELECT {columns} FROM evaluation ORDER BY step DESC").fetchone()  # noqa: S608
    return {f"Q-Former {name}": float(value) for name, value in zip(columns.split(", "), last or (), strict=False)}


def as_lines(numbers: Numbers) -> str:
    """One line a number."""
    width = max(map(len, numbers))
    return "".join(f"{name:<{width}}  {value:.4g}\n" for name, value in numbers.items())


if __name__ == "__main__":
    main()
