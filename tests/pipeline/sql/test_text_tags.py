"""What is odd about a web text."""

from __future__ import annotations

import duckdb
import pytest

from pipeline.sql.text_tags import text_tag

TAGS = {
    None: "empty",
    "": "empty",
    " \t\n": "empty",
    "IMG_2041.JPG": "file_name",
    "my holiday.jpeg": "file_name",
    "DSC00012": "file_name",
    "dscn-12": "file_name",
    "photo 3": "file_name",
    "logo.svg": "file_name",
    "http://example.org/a.jpg": "file_name",
    "https://example.org/shop?id=1": "url",
    "www.example.org": "url",
    "example.co.uk/shoes": "url",
    " HTTP://EXAMPLE.ORG ": "url",
    "a dog on a beach": None,
    "see www.example.org for more": None,
    "photo 3 of my holiday": None,
    "The end.": None,
    "Nikon D3.5": None,
    "Größe XL": None,
    "word " * 75: None,
    "word " * 76: "too_long",
    "a dog\nand its tail": None,
}


@pytest.mark.parametrize("text", TAGS)
def test_the_tag(text):
    sql = f"SELECT {text_tag('said')} FROM (SELECT ?::VARCHAR AS said)"
    assert duckdb.execute(sql, [text]).fetchall() == [(TAGS[text],)]
