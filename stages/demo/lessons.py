"""What the demo models learn from: pictures as the stages see them after decoding and resizing, with texts.

Every picture goes through its file format and through the square bicubic resize that the checkpoints ask for. Texts of
all kinds are drawn once per picture. A lesson book takes minutes to draw, so it is kept in the temporary folder, under
a name that covers its parameters and the code that drew it.
"""

import hashlib
import logging
import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.demo.alt_text import SHARES, Kind, text_of_kind
from stages.demo.describe import describe
from stages.demo.render import rendered_at
from stages.demo.scene import Place, Scene, Stream, Topic, generator, scene_at
from stages.pictures import decode

logger = logging.getLogger(__name__)

PIXELS = 64
TRUE_TEXTS = 6
WRONG_KINDS: tuple[Kind, ...] = (
    "wrong_attribute", "wrong_attribute", "wrong_attribute", "wrong_attribute", "other_image", "shop", "file_name",
    "boilerplate", "empty",
)  # fmt: skip
DRAWN_BY = ("scene.py", "render.py", "language.py", "describe.py", "alt_text.py", "lessons.py")


@dataclass(frozen=True)
class Lesson:
    """One picture: its content, what people say of it, what is typed on the web about it, and what is wrong."""

    scene: Scene
    descriptions: list[str]
    web_texts: list[str]
    wrong_texts: list[str]


@dataclass(frozen=True)
class Book:
    """Lessons and their pixels, uint8 (lesson, channel, row, column)."""

    pixels: NDArray[np.uint8]
    lessons: list[Lesson]

    def __len__(self) -> int:
        return len(self.lessons)


def open_book(*, seed: int, stream: Stream, images: int, workers: int = 2) -> Book:
    """The first images of a stream as lessons, from the temporary folder if they have been drawn before."""
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in DRAWN_BY)
    name = hashlib.sha256(code + f"{seed} {stream} {images}".encode()).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"capfilt-demo-lessons-{name}.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())  # type: ignore[no-any-return]  # noqa: S301  (our own file)
    logger.info("drawing %d pictures", images)
    places = [Place(seed, stream, index) for index in range(images)]
    with ProcessPoolExecutor(workers) as pool:
        drawn = list(pool.map(draw, places, chunksize=100))
    book = Book(np.stack([pixels for pixels, _ in drawn]), [lesson for _, lesson in drawn])
    partial_file = kept.with_suffix(".part")
    partial_file.write_bytes(pickle.dumps(book))
    partial_file.rename(kept)
    return book


def draw(place: Place) -> tuple[NDArray[np.uint8], Lesson]:
    """One picture and its texts."""
    scene, rng = scene_at(place), generator(place, Topic.TEXT)
    other = scene_at(Place(place.seed, place.stream, int(rng.integers(1 << 30, 1 << 31))))
    text = partial(text_of_kind, scene=scene, other=other, rng=rng)
    assert set(WRONG_KINDS) | {"true"} == set(SHARES)
    return as_seen(rendered_at(place).data), Lesson(
        scene,
        [describe(scene, rng) for _ in range(TRUE_TEXTS)],
        [text("true") for _ in range(TRUE_TEXTS)],
        [text(kind) for kind in WRONG_KINDS],
    )


def as_seen(data: bytes) -> NDArray[np.uint8]:
    """A file's pixels, squashed to the square that the models take: (channel, row, column)."""
    image = decode(data).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))
