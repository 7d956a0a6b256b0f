"""Which text is which image's, whatever their names and order."""

from __future__ import annotations

import itertools

import pytest
import webdataset as wds

from stages.urls.samples import IMAGES, Name, name_of, stems_of_texts


def pairs(*members: str) -> dict[str, str | None]:
    names = {member: name_of(member) for member in members}
    images = {member: name for member, name in names.items() if name.ending in IMAGES}
    texts = [name.stem for name in names.values() if name.ending in {"txt", "json"}]
    stems = stems_of_texts(images.values(), texts)
    return {member: stems[name] for member, name in images.items() if name in stems}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (("0.jpg", "0.txt", "1.JPG", "1.json"), {"0.jpg": "0", "1.JPG": "1"}),
        (("./a/0.jpg", "a//0.txt", "b/0.jpg"), {"./a/0.jpg": "a/0", "b/0.jpg": None}),
        (("v1.x/0.jpg", "v1.x/0.txt"), {"v1.x/0.jpg": "v1.x/0"}),
        (
            ("photo v2.0 (clean).jpg", "photo v2.0 (clean).txt", "photo v2.1.jpg", "photo v2.1.txt"),
            {"photo v2.0 (clean).jpg": "photo v2.0 (clean)", "photo v2.1.jpg": "photo v2.1"},
        ),
        (("s.input.jpg", "s.output.txt"), {"s.input.jpg": "s.output"}),
        (("s.left.jpg", "s.right.jpg", "s.txt"), {"s.left.jpg": "s", "s.right.jpg": "s"}),
        (("s.a.left.jpg", "s.txt", "s.a.txt"), {"s.a.left.jpg": "s.a"}),
        (("7.jpg", "7.mask.png", "7.txt"), {"7.jpg": "7"}),
        (("7.jpg", "7.png", "7.txt"), {"7.jpg": "7", "7.png": "7"}),
        (("1.jpg", "1.25.jpg", "1.5.jpg"), {"1.jpg": None, "1.25.jpg": None, "1.5.jpg": None}),
        (("2021.1.jpg", "2021.1.txt", "2021.2.jpg", "2021.3.txt"), {"2021.1.jpg": "2021.1", "2021.2.jpg": None}),
        (("x.a.jpg", "x.b.txt", "x.c.txt"), {"x.a.jpg": None}),
        ((".jpg", ".txt"), {".jpg": ""}),
    ],
)
def test_pairs(members: tuple[str, ...], expected: dict[str, str | None]) -> None:
    for order in itertools.islice(itertools.permutations(members), 24):
        assert pairs(*order) == expected


@pytest.mark.parametrize("member", ["0.jpg", "a/0.seg.png", "a.b/c.d.e.jpg", "photo v2.0 (clean).jpg"])
def test_the_key_is_webdatasets(member: str) -> None:
    assert name_of(member).key == wds.tariterators.base_plus_ext(member)[0]


def test_names_without_an_ending() -> None:
    assert name_of("a/README") == Name("a/README", "")
    assert name_of("/abs/../x.Jpg") == Name("/x", "jpg")
