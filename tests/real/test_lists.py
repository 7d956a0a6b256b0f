"""What is made of stamps and drawings, and the web that these are served on."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.real import clipart, stamps
from tests.real.clipart import Row, misplaced, said
from tests.real.web import answer, rot, serve

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><rdf:RDF><cc:Work>
  <dc:title>{title}</dc:title><dc:subject><rdf:Bag>{words}</rdf:Bag></dc:subject>
  <dc:creator><cc:Agent><dc:title>Somebody</dc:title></cc:Agent></dc:creator></cc:Work></rdf:RDF></metadata></svg>"""


def svg(title: str, *words: str) -> str:
    return SVG.format(title=title, words="".join(f"<rdf:li>{word}</rdf:li>" for word in words))


def rows(number: int) -> Sequence[Row]:
    return [Row(f"animals/{at}.png", f"text {at}") for at in range(number)]


def test_a_stamps_caption_is_its_first_line_unless_that_says_its_language():
    assert stamps.english(b"A red kangaroo.\naf.utf8='n Rooi kangeroe\n") == "A red kangaroo."
    assert stamps.english(b"af.utf8='n Rooi kangeroe\n") == ""
    assert stamps.english(b"") == ""


def test_photographs_with_captions_are_listed_and_drawings_are_not(tmp_path: Path):
    for name in ("animals/cat", "animals/cartoon/dog", "symbols/a", "animals/mute"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.png").touch()
        if "mute" not in name:
            (tmp_path / f"{name}.txt").write_text("A thing.\n")
    (found,) = stamps.entries(tmp_path)
    assert (found["filepath"], found["filename"], found["sentences"]) == ("animals", "cat.png", [{"raw": "A thing."}])


def test_a_third_of_the_photographs_is_held_out():
    held_out = [stamps.split(f"animals/{number}.png") for number in range(3000)].count("test")
    assert 900 < held_out < 1100


@pytest.mark.parametrize(
    ("drawing", "text"),
    [
        (svg("open  book", "hash", "wood", "book"), "open book, wood, book"),
        (svg("", "hash(0x89f892c)", "big_dog"), "big dog"),
        (svg("eagle", "eagle"), "eagle"),
        ("<svg/>", ""),
        ("<svg", ""),
    ],
)
def test_a_drawing_says_its_title_and_its_keywords(drawing: str, text: str):
    assert said(drawing) == text


def test_what_more_drawings_say_than_five_is_the_name_of_a_set(tmp_path: Path):
    for kind in ("svg", "png"):
        (tmp_path / kind / "tools").mkdir(parents=True)
        for number in range(8):
            (tmp_path / kind / f"tools/{number}.{kind}").write_text(svg("A set" if number else "A saw", "tool"))
    assert [row.text for row in clipart.found_in(tmp_path)] == ["A saw, tool"] + ["A set, tool"] * 5


def test_a_quarter_of_the_texts_is_another_pictures_and_none_is_lost():
    given = rows(2000)
    texts = misplaced(given)
    wrong = [at for at, row in enumerate(given) if texts[at] != row.text]
    assert 400 < len(wrong) < 600
    assert sorted(texts) == sorted(row.text for row in given)
    assert misplaced(rows(2001))[:400].count("text 7") <= 1


def path_that(how: str | None) -> str:
    return next(path for path in (f"/{number}.png" for number in range(10_000)) if rot(path) == how)


def test_links_rot_each_in_its_way(tmp_path: Path):
    for how in (None, "missing", "page", "truncated"):
        (tmp_path / path_that(how)[1:]).write_bytes(b"pixels")
    assert answer(tmp_path, path_that(None)) == (200, "image/png", b"pixels", 6)
    assert answer(tmp_path, path_that("missing"))[0] == 404
    assert answer(tmp_path, path_that("page"))[1] == "text/html"
    assert answer(tmp_path, path_that("truncated")) == (200, "image/png", b"pix", 6)
    assert answer(tmp_path, "/../secret.png")[0] == 404


def test_the_web_serves_the_folder(tmp_path: Path):
    path = path_that(None)
    (tmp_path / path[1:]).write_bytes(b"pixels")
    with serve(tmp_path, 0) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        assert connection.getresponse().read() == b"pixels"
        connection.close()
