"""What the columns of somebody's list are called beside ours."""

from __future__ import annotations

import pytest

from stages.own_columns import OURS, own_names


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (("NSFW", "pwatermark", "order", "a.b", 'q"x'), ("NSFW", "pwatermark", "order", "a.b", 'q"x')),
        (("caption", "RANK", "Table_Path"), ("list_caption", "list_RANK", "list_Table_Path")),
        (("url", "text", "key"), ("list_url", "list_text", "list_key")),
        (("caption", "list_caption"), ("list_list_caption", "list_caption")),
        (("list_caption", "Caption", "CAPTION"), ("list_caption", "list_list_Caption", "list_list_list_CAPTION")),
        (("Alt", "ALT"), ("Alt", "list_ALT")),
        (("",), ("list_",)),
        ((), ()),
    ],
)
def test_a_name_that_is_taken_gets_a_prefix(wanted: tuple[str, ...], named: tuple[str, ...]) -> None:
    assert tuple(own_names(wanted).items()) == tuple(zip(wanted, named, strict=True))


def test_no_two_columns_are_one_to_a_database() -> None:
    wanted = [*OURS, *(name.upper() for name in OURS), *(f"list_{name}" for name in OURS)]
    found = [name.casefold() for name in own_names(wanted).values()]
    assert len({*found, *OURS}) == len(found) + len(OURS)


def test_names_beside_others_than_the_tables():
    named = own_names(["Captions", "caption", "list_caption", "x"], {"captions", "caption"})
    assert named == {
        "Captions": "list_Captions",
        "caption": "list_list_caption",
        "list_caption": "list_caption",
        "x": "x",
    }
