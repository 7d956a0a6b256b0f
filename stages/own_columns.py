"""What a list's own columns are called in our tables, in the views and in the tars.

They keep their names, but for one that is called like a column of ours, whatever its case: DuckDB tells `Caption` and
`caption` apart as little as people do. That one gets `list_` in front, and so does the later one of two that differ in
case alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stages import tables

PREFIX = "list_"
OURS = frozenset(
    {
        *(name for schema in tables.ALL for name in schema.names),
        # of what a training and an evaluation leave
        *("phase", "step", "epochs", "lr", "loss", "itc", "itm", "itg", "itm_accuracy", "temperature", "grad_norm"),
        *("images_per_second", "images", "r1_image_to_text", "r1_text_to_image", "chance"),
        *("model", "direction", "right", "k", "recall", "texts", "tokenizer"),
        # of what a selection keeps
        *(
            "judged",
            "rejected",
            "noise_ratio",
            "kept_captions",
            "distinct_captions",
            "distinct_words",
            "distinct_bigrams",
        ),
        *("distinct_trigrams", "distinct_1", "distinct_2", "distinct_3", "web_words", "web_words_kept"),
        # of the views
        *(
            "shard",
            "host",
            "text_tag",
            "text_flags",
            "stage",
            "count",
            "urls",
            "failed",
            "rows",
            "without",
            "made_by",
            "round",
        ),
        "table_path",  # while tables are read
    }
)
"""Every column of every table and view, in lower case (a test holds them to the views)."""


def own_names(wanted: Sequence[str], ours: Collection[str] = OURS) -> dict[str, str]:
    """The name beside ours of every column wanted, in their order.

    Args:
        wanted: names of the list's, all different.
        ours: the names that are taken.
    """
    taken, found = {*map(str.casefold, ours), ""}, dict[str, str]()  # DuckDB has no column without a name
    for name in sorted(wanted, key=lambda name: name.casefold() in taken):  # who may keep his name comes first
        new = name
        while new.casefold() in taken:
            new = f"{PREFIX}{new}"
        taken.add(new.casefold())
        found[name] = new
    return {name: found[name] for name in wanted}
