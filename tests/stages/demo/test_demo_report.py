"""The report, over a small finished run whose numbers can be counted by hand."""

import json

import duckdb
import pandas as pd
import pytest
from hypothesis import settings

from stages.demo.report import main, report
from stages.demo.scene import Scene, Shape

UNHURRIED = settings(deadline=None, max_examples=60)

SCENE = Scene(1.0, (Shape("circle", "red", "large", 0.3, 0.3, 0.2),))
URL = "http://127.0.0.1:1/images/00000000.jpg"
CAPTIONS = [
    ("a", 0, "web", "click to enlarge", 0.1, URL),
    ("a", 1, "synthetic", "a red circle", 0.9, URL),
    ("a", 2, "synthetic", "a blue circle", 0.2, URL),
    ("b", 0, "web", "A large red circle.", 0.8, URL),
    ("b", 1, "synthetic", "a small circle", 0.4, URL),
    ("b", 2, "synthetic", "a small circle", 0.3, URL),
    ("b", 3, "web", None, None, URL),
    ("c", 0, "human", "what people say is taken as it is", None, "elsewhere"),
]
CORPUS = [("a", "synthetic", "a red circle", URL), ("b", "web", "A large red circle.", URL), ("b", "web", "huge", URL)]


@pytest.fixture
def run(tmp_path):
    """A world folder and an output folder."""
    world, output = tmp_path / "world", tmp_path / "out"
    world.mkdir()
    output.mkdir()
    truth = {"url": [URL, None], "scene": [json.dumps(SCENE.to_json())] * 2}
    pd.DataFrame(truth).to_parquet(world / "truth.parquet")
    add_view(output, "captions", ["key", "candidate", "origin", "caption", "itm_score", "url"], CAPTIONS)
    add_view(output, "corpus", ["key", "origin", "caption", "url"], CORPUS)
    return world, output


def add_view(output, name, columns, rows):
    """A view over a Parquet file, as the catalog has them."""
    file = output / f"{name}.parquet"
    pd.DataFrame(rows, columns=columns).to_parquet(file)
    with duckdb.connect(str(output / "catalog.duckdb")) as catalog:
        catalog.execute(f"CREATE VIEW {name} AS SELECT * FROM '{file}'")


def test_the_numbers(run):
    assert report(*run) == {
        "images": 2,
        "captions right": 1 / 4,
        "images with a right caption": 1 / 2,
        "distinct captions of an image": 3 / 2,
        "web texts right": pytest.approx(1 / 3),
        "ROC AUC of ITM on web texts": 1,
        "ROC AUC of ITM on captions": 1,
        "kept captions": 3,
        "kept captions right": pytest.approx(2 / 3),
        "kept web texts right": 1 / 2,
        "images kept": 2,
    }


def test_the_last_evaluation_of_the_q_former(run):
    columns = ["step", "images", "r1_image_to_text", "r1_text_to_image", "chance"]
    add_view(run[1], "evaluation", columns, [(200, 100, 0.5, 0.4, 0.01), (100, 100, 0.2, 0.1, 0.01)])
    numbers = report(*run)
    assert numbers["Q-Former step"] == 200
    assert numbers["Q-Former r1_image_to_text"] == 0.5
    assert numbers["Q-Former chance"] == 0.01


def test_lines_and_json_say_the_same(run, capsys):
    main([str(part) for part in run])
    lines = capsys.readouterr().out.splitlines()
    main([*(str(part) for part in run), "--json"])
    numbers = json.loads(capsys.readouterr().out)
    assert [line.split("  ")[0].strip() for line in lines] == list(numbers)


def test_what_is_missing_is_named(run, tmp_path):
    world, output = run
    with pytest.raises(SystemExit, match="has the run finished"):
        main([str(world), str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="write the world first"):
        main([str(tmp_path / "nowhere"), str(output)])


def test_a_run_over_another_world_is_refused(run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    pd.DataFrame({"url": ["http://else"], "scene": ['{"aspect": 1, "shapes": []}']}).to_parquet(other / "truth.parquet")
    with pytest.raises(SystemExit, match="knows nothing of 1 urls"):
        main([str(other), str(run[1])])
