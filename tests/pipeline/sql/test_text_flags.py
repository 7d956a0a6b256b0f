"""What of a text is tagged as offensive or as about a person."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pipeline.sql.text_flags import AT_ONCE, text_flags

WORDS = ("darn", "holy cow", "c++", "größe")
FLAGS = {
    None: None,
    "": None,
    "a dog on a beach in 2019": None,
    "write to jane.doe+x@mail.example.org!": ["email"],
    "JÖRG@EXAMPLE.DE": ["email"],
    "meet @jane at 5": None,
    "a@b": None,
    "call +49 (0)30 1234567 now": ["phone"],
    "+1-555-123-4567": ["phone"],
    "call (555) 223-4567": ["phone"],
    "555-223-4567": ["phone"],
    "555.223.4567, or by mail": ["phone"],
    "1939-1945": None,
    "555-2234": None,
    "+5 degrees": None,
    "2+15552234567": None,
    "part 1555-223-4567": None,
    "host 192.168.0.255": ["ip_address"],
    "at 10.0.0.1.": ["ip_address"],
    "version 1.2.3.4.5": None,
    "300.1.1.1": None,
    "SSN 123-45-6789": ["social_security"],
    "000-45-6789": None,
    "666-45-6789": None,
    "900-45-6789": None,
    "123-00-6789": None,
    "123-45-0000": None,
    "5123-45-6789": None,
    "my card 4111 1111 1111 1111": ["card"],
    "378282246310005": ["card"],
    "5555-5555-5555-4444": ["card"],
    "4111 1111 1111 1112": None,
    "0000000000000000": None,
    "41111111111111111111111": None,
    "Darn it": ["offensive"],
    "darning a sock": None,
    "HOLY \t COW": ["offensive"],
    "a c++ book": ["offensive"],
    "GRÖSSE": None,
    "GRÖßE XL": ["offensive"],
    "darn: a@example.org, 4111111111111111": ["email", "card", "offensive"],
}


def test_the_flags():
    said = pa.table({"said": pa.array(list(FLAGS), pa.string())})
    connection = duckdb.connect()
    connection.register("texts", said)
    found = dict(connection.sql(f"SELECT said, {text_flags('said', WORDS)} FROM texts").fetchall())
    assert found == FLAGS


def test_without_a_list_nothing_is_offensive_and_a_long_one_is_whole():
    words = tuple(f"word{number}" for number in range(2 * AT_ONCE + 1))
    told = "SELECT " + ", ".join(text_flags(f"'{word}'", words) for word in (words[0], words[-1], "word"))
    assert duckdb.execute(told).fetchall() == [(["offensive"], ["offensive"], None)]
    assert duckdb.execute(f"SELECT {text_flags(repr('darn'))}").fetchall() == [(None,)]
