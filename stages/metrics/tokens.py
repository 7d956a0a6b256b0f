"""Captions to words, as the Penn Treebank has them: what CIDEr, BLEU and ROUGE count.

The papers' numbers come from coco-caption, which runs Stanford's PTBTokenizer (CoreNLP 3.4.1, in Java), lower-cases,
and drops 17 marks. This is a rule of our own in Python for the same tokens. It gives the same ones for what captions
are made of: words, hyphens, clitics (`is n't`, `man 's`), numbers, abbreviations, brackets (`-lrb-`, which coco-caption
means to drop and does not, for its list has them in upper case), quotes and runs of marks. It differs where Stanford's
knows more: abbreviations beyond `_ABBREVIATIONS`, slang (`y' all`), fractions such as ½, smileys beyond the plain ones,
SGML, and names with marks of their own such as `Yahoo!`.
"""

from __future__ import annotations

import re
from typing import Final

NAME: Final = "ptb-python"
"""What a result calls it."""
PUNCTUATION: Final = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""The tokens that coco-caption drops, as it lists them."""

_SPOKEN: Final = str.maketrans(
    {
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{LEFT SINGLE QUOTATION MARK}": "`",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{EN DASH}": "--",
        "\N{EM DASH}": "--",
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{CENT SIGN}": " cents ",
        "\N{POUND SIGN}": "#",
        "\N{EURO SIGN}": "$",
    }
)
_BRACKETS: Final = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_TWO_WORDS: Final = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "gimme": "gim me",
    "lemme": "lem me",
    "'tis": "'t is",
    "'twas": "'t was",
}
_ABBREVIATIONS: Final = (
    *("mr", "mrs", "ms", "dr", "prof", "gen", "st", "jr", "sr", "ph.d"),
    *("inc", "ltd", "co", "corp", "dept", "ave", "blvd", "rd", "mt", "ft", "vs", "etc"),
    *("jan", "feb", "apr", "aug", "sept", "sep", "oct", "nov", "dec"),
)
_TOKEN: Final = re.compile(
    rf"""
      https?://\S+ | [\w.+-]+@[\w-]+(?:\.[\w-]+)+       # addresses
    | </?[a-z]+> | [:;]-?[()]                           # a tag, a smiley
    | (?:[a-z]\.)+(?![^\W_])                            # u.s., p.m.
    | (?:{"|".join(map(re.escape, _ABBREVIATIONS))})\.(?![^\W_]) | no\.(?=\s*\d)
    | '(?:tis|twas|em|cause)\b | '\d0s\b | '(?:s|m|d|re|ve|ll)(?![^\W_]) | n't\b
    | [^\W\d_]+?(?=n't\b)                               # is + n't
    | (?:o|d|l)'[^\W\d_]{{2,}} | ma'am\b                # o'clock
    | \.?\d+(?:[.,:]\d+)+(?=[ap]m\b) | \d+(?:[.,:]\d+)+(?![^\W_]) | \.\d+
    | [^\W_]+(?:[-./?!_][^\W_]+)*                        # words; what stands between letters without a space joins them
    | --? | \.\.\. | [!?]+ | (?P<run>[*_])(?P=run)* | \S
    """,
    re.VERBOSE,
)


def tokenize(caption: str) -> str:
    """The words of a caption in lower case, with a space between them; "" if there is none."""
    text = caption.translate(_SPOKEN).lower()
    words = [word for found in _TOKEN.finditer(text) for word in _spelt(found[0])]
    return " ".join(word for word in words if word not in PUNCTUATION)


def _spelt(found: str) -> list[str]:
    """A token as the treebank spells it."""
    if found in _BRACKETS:
        return [_BRACKETS[found]]
    if found[0] in ":;" and found[-1] in "()":
        return [found[:-1] + _BRACKETS[found[-1]]]
    return ["''"] if found == '"' else _TWO_WORDS.get(found, found).split(" ")
