r"""What is odd about a web text, as SQL: a tag in the views, by which nobody's row is dropped.

`empty`: nothing but blanks. `url`: an address and nothing else. `file_name`: the name of a picture's file, or what a
camera calls one. `too_long`: more words than the 75 tokens that CLIP reads of a text (Radford et al. 2021, section 2.4:
a context of 76, of which later releases have 77, both marks included), so that its end counts nowhere.
"""

from __future__ import annotations

from typing import Final

MOST_WORDS: Final = 75
_URL: Final = r"^(https?://\S+|www\.\S+|[a-z0-9-]+(\.[a-z0-9-]+)*\.(com|net|org|info|io|edu|gov|[a-z]{2})(/\S*)?)$"
_FILE_NAME: Final = (
    r"^(.*\.(jpe?g|png|gif|webp|bmp|tiff?|svg|heic|avif)|(img|dsc[nf]?|dcim|pict|image|photo)[-_ ]?\d+)$"
)


def text_tag(text: str) -> str:
    """The SQL expression of the tag of an SQL expression; NULL where nothing is odd."""
    trimmed = f"trim(coalesce({text}, ''), E' \\t\\r\\n')"
    return f"""
        CASE WHEN {trimmed} = '' THEN 'empty'
             WHEN regexp_matches({trimmed}, '{_FILE_NAME}', 'i') THEN 'file_name'
             WHEN regexp_matches({trimmed}, '{_URL}', 'i') THEN 'url'
             WHEN len(string_split_regex({trimmed}, '\\s+')) > {MOST_WORDS} THEN 'too_long'
        END
    """
