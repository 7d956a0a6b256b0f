"""Writes a demo world: a web list in LAION's columns, pictures that people described in COCO's, and the truth.

The truth stands apart and is for measuring only. A world is written beside its place and renamed when it is complete;
a finished one with the same parameters is left alone.
"""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.demo.alt_text import alt_text_at
from stages.demo.describe import describe
from stages.demo.language import is_right
from stages.demo.render import Form, form_at, rendered_at
from stages.demo.scene import Place, Stream, Topic, generator, scene_at

VERSION = 1
"""Counts up when the same parameters give another world."""

SENTENCES = 5
LICENCES = ("?", "public domain", "CC-BY", "CC-BY-SA")
SPLITS = {7: "restval", 8: "val", 9: "test"}
"""Of ten human pictures one is for validation, one for testing, one left over as in COCO; the others train."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Parameters:
    """What a world follows from."""

    images: int
    human: int
    measured: int
    """Human pictures beyond those, all of them in the test split."""
    seed: int
    base_url: str
    version: int = VERSION


@dataclass(frozen=True)
class World:
    """Where a world's parts lie."""

    folder: Path

    @property
    def web_list(self) -> Path:
        """The web's list, in LAION's columns."""
        return self.folder / "laion.parquet"

    @property
    def human_list(self) -> Path:
        """People's descriptions, in the format of Karpathy's COCO split."""
        return self.folder / "human" / "dataset_coco.json"

    @property
    def human_images(self) -> Path:
        """The folder that the descriptions' file names are in."""
        return self.folder / "human" / "images"

    @property
    def truth(self) -> Path:
        """Every picture's scene; for measuring only."""
        return self.folder / "truth.parquet"

    @property
    def record(self) -> Path:
        """The parameters that the world was written with."""
        return self.folder / "world.json"


def write(  # noqa: PLR0913 - what a world follows from
    folder: Path, *, images: int, human: int, measured: int = 0, seed: int, base_url: str
) -> World:
    """Write a world of so many web and human pictures, unless it is there already.

    Raises:
        FileExistsError: the folder holds something else.
    """
    world, parameters = World(folder), Parameters(images, human, measured, seed, base_url.rstrip("/"))
    if world.record.exists() and json.loads(world.record.read_text()) == asdict(parameters):
        return world
    if folder.exists() and any(folder.iterdir()) and not world.record.exists():
        raise FileExistsError(f"{folder} holds something else than a demo world: choose another folder or empty it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        draft = World(Path(scratch) / "world")
        _write_parts(draft, parameters)
        if folder.exists():
            shutil.rmtree(folder)
        draft.folder.rename(folder)
    return world


def read_parameters(folder: Path) -> Parameters:
    """The parameters of a finished world.

    Raises:
        FileNotFoundError: there is none.
    """
    record = World(folder).record
    if not record.exists():
        raise FileNotFoundError(f"{folder} holds no finished demo world: write one first")
    return Parameters(**json.loads(record.read_text()))


def file_name(place: Place, form: Form) -> str:
    """A picture's file name."""
    return f"{place.index:08d}.{form.extension}"


def _write_parts(world: World, made: Parameters) -> None:
    world.human_images.mkdir(parents=True)
    web = [web_rows(Place(made.seed, Stream.WEB, index), made.base_url) for index in range(made.images)]
    places = [Place(made.seed, Stream.HUMAN, index) for index in range(made.human + made.measured)]
    people = [human_rows(place, world.human_images, _split(place.index, made.human)) for place in places]
    pd.DataFrame([listed for listed, _ in web]).to_parquet(world.web_list, index=False)
    world.human_list.write_text(json.dumps({"dataset": "coco", "images": [listed for listed, _ in people]}))
    truths = [row for _, row in web] + [row for _, rows in people for row in rows]
    pd.DataFrame(truths).to_parquet(world.truth, index=False)
    world.record.write_text(json.dumps(asdict(made), indent=2) + "\n")


def web_rows(place: Place, base_url: str) -> tuple[Row, Row]:
    """A picture's row of the web list, and its truth; the web draws the picture when somebody asks for it."""
    form, web, rng = form_at(place), alt_text_at(place), generator(place, Topic.LIST)
    url = f"{base_url}/images/{file_name(place, form)}"
    listed: Row = {
        "SAMPLE_ID": place.index,
        "URL": url,
        "TEXT": web.text,
        "HEIGHT": form.height,
        "WIDTH": form.width,
        "LICENSE": LICENCES[int(rng.integers(len(LICENCES)))],
        "NSFW": "UNLIKELY",
        "similarity": float(rng.uniform(0.28, 0.4)),
    }
    return listed, _truth(place, web.text, url=url, kind=web.kind)


def human_rows(place: Place, folder: Path, split: str) -> tuple[Row, list[Row]]:
    """A picture's entry in COCO's list and the truths of its sentences; the picture is written into the folder."""
    picture, scene, rng = rendered_at(place), scene_at(place), generator(place, Topic.TEXT)
    name = file_name(place, picture.form)
    folder.joinpath(name).write_bytes(picture.data)
    sentences = [describe(scene, rng) for _ in range(SENTENCES)]
    listed: Row = {
        "filepath": folder.name,
        "filename": name,
        "cocoid": place.index,
        "imgid": place.index,
        "split": split,
        "sentences": [{"raw": text, "imgid": place.index} for text in sentences],
    }
    return listed, [_truth(place, text, file=f"{folder.name}/{name}", kind="human") for text in sentences]


def _split(index: int, human: int) -> str:
    return SPLITS.get(index % 10, "train") if index < human else "test"


def _truth(place: Place, text: str, *, url: str | None = None, file: str | None = None, kind: str) -> Row:
    scene = scene_at(place)
    return {
        "url": url,
        "file": file,
        "scene": json.dumps(scene.to_json()),
        "text": text,
        "text_right": is_right(text, scene),
        "kind": kind,
    }
