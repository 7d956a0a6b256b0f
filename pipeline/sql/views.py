"""The views that people ask, as SQL over those of all rows of a kind (`stages.kinds`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pipeline.dag.graph import Graph
from pipeline.dag.left_out import LeftOut
from pipeline.sql.measures import MEASURES
from pipeline.sql.scan import identifier, text
from pipeline.sql.steps import steps_view
from pipeline.sql.text_flags import text_flags
from pipeline.sql.text_tags import text_tag

MADE_BY: Final = "made_by"
"""The column of the views of all rows that names the step."""
_SCORES: Final = {"similarities": ("raw_rank", "clip_score"), "matches": ("raw_filter", "itm_score")}
"""The view and the column of the scores, by kind."""

# ruff: noqa: S608 - the SQL is this project's own, its texts and paths too
_HOST = r"lower(regexp_extract(url, '^\s*\w+://(?:[^/?#]*@)?(\[[^]]*\]|[^/?#:]*)', 1))"
_JOINED: Final = {
    "corpus": """
        SELECT key, source, url, caption, origin, "rank", clip_score, itm_score, writer FROM captions WHERE kept
    """,
    "round": """
        SELECT steps.step AS round, key, source, url, caption, origin, "rank", raw_captions.made_by AS writer
        FROM raw_select JOIN steps USING (made_by, source) JOIN raw_captions USING (key, writer, candidate, source)
        JOIN urls USING (key, source)
        WHERE kept
    """,
    "evaluation": """
        SELECT step, images, r1_image_to_text, r1_text_to_image, chance FROM pretraining WHERE phase = 'holdout'
    """,
    "uncaptioned": """
        SELECT source, shard, key, split_part(error, ':', 1) AS reason, error
        FROM raw_captions WHERE error IS NOT NULL AND origin <> 'shuffled'
    """,
    "unselected": """
        SELECT source, any_value(shard) AS shard, key,
               CASE WHEN bool_or(reason = 'unscored') THEN 'unscored'
                    WHEN bool_or(reason = 'common') THEN 'all_common'
                    WHEN bool_or(reason = 'below_threshold') THEN 'all_below_threshold' ELSE 'no_text' END AS reason
        FROM selected GROUP BY source, key HAVING NOT bool_or(kept)
    """,
    "failures": f"""
        SELECT 'download' AS stage, source, shard, key, url, {_HOST} AS host, status AS reason, error
        FROM raw_images WHERE status <> 'success'
        UNION ALL
        SELECT 'dedup', source, shard, key, url, {_HOST}, 'duplicate by ' || rule, 'a copy of ' || original
        FROM raw_images JOIN (SELECT key, original, rule FROM duplicates) USING (key) WHERE status = 'success'
        UNION ALL
        SELECT 'caption', uncaptioned.source, uncaptioned.shard, key, url, NULL, reason, error
        FROM uncaptioned JOIN urls USING (key)
        UNION ALL
        SELECT 'select', unselected.source, unselected.shard, key, url, NULL, reason,
               'no caption of this image was kept'
        FROM unselected JOIN urls USING (key) ANTI JOIN uncaptioned USING (key)
    """,
    "losses": """
        WITH lost AS (
            SELECT 'download' AS stage, source, status AS reason FROM raw_images WHERE status <> 'success'
            UNION ALL
            SELECT 'dedup', source, 'duplicate by ' || rule
            FROM raw_images JOIN (SELECT key, rule FROM duplicates) USING (key) WHERE status = 'success'
            UNION ALL
            SELECT 'caption', source, reason FROM uncaptioned
            UNION ALL
            SELECT 'select', source, reason FROM unselected ANTI JOIN uncaptioned USING (key)
        )
        SELECT stage, source, reason, count(*) AS count
        FROM lost GROUP BY ALL ORDER BY stage, source, count DESC, reason
    """,
    "hosts": f"""
        SELECT host, count(*) AS urls, count(*) FILTER (status = 'success') AS images,
               count(*) FILTER (status <> 'success') AS failed,
               mode(status ORDER BY status) FILTER (status <> 'success') AS reason
        FROM (SELECT status, {_HOST} AS host FROM raw_images)
        WHERE host <> '' GROUP BY host ORDER BY failed DESC, urls DESC, host
    """,
    # each image that has captions has one that is number 1, and each that has an allowed one has one of rank 1, which
    # is kept; so no step has to join, or to count distinct keys
    "funnel": """
        WITH steps AS (
            SELECT source, 1 AS position, 'URLs' AS step, count(*) AS count FROM urls GROUP BY source
            UNION ALL
            SELECT source, 2, 'images', count(*) FROM raw_images WHERE status = 'success' GROUP BY source
            UNION ALL
            SELECT source, 3, 'distinct', count(*) FROM raw_images ANTI JOIN duplicates USING (key)
            WHERE status = 'success' AND source IN (SELECT source FROM duplicates) GROUP BY source
            UNION ALL
            SELECT source, 4, 'captioned', max(count) FROM (
                SELECT source, count(*) AS count FROM raw_captions WHERE candidate = 1 GROUP BY source, writer
            ) GROUP BY source
            UNION ALL
            SELECT source, 5, 'kept', count(*) FROM selected WHERE "rank" = 1 AND kept GROUP BY source
            UNION ALL
            SELECT source, 6, 'captions kept', count(*) FROM selected WHERE kept GROUP BY source
            UNION ALL
            SELECT source, 7, 'questions', count(*) FROM questions GROUP BY source
            UNION ALL
            SELECT source, 8, 'left out of ' || made_by || ': ' || reason, count FROM left_out
        )
        SELECT source, step, count FROM steps ORDER BY source, position, step
    """,
}
"""In the order in which they build on one another."""


def views(graph: Graph, left_out: Iterable[tuple[str, LeftOut]] = ()) -> Iterator[tuple[str, str]]:
    """Every view and its SQL, in the order in which they build on one another.

    Args:
        graph: the steps.
        left_out: what models left out of their images, each with the model's step.
    """
    yield "left_out", _left_out(left_out)
    last = _steps(graph, "selection")[-1:]
    yield "selected", f"SELECT * FROM raw_select WHERE {MADE_BY} IN ({', '.join(map(text, last)) or 'NULL'})"
    yield "weights", _weights(graph)
    yield "steps", steps_view(graph)
    yield "captions", _captions({kind: _steps(graph, kind) for kind in _SCORES}, graph.flagged)
    yield "images", _images(graph.flagged)
    yield from _JOINED.items()
    yield from MEASURES.items()


def _left_out(found: Iterable[tuple[str, LeftOut]]) -> str:
    rows = [f"({text(step)}, {text(each.source)}, {text(each.reason)}, {each.images})" for step, each in found]
    columns = f"{MADE_BY}, source, reason, count"
    empty = "(NULL::VARCHAR, NULL::VARCHAR, NULL::VARCHAR, NULL::BIGINT)"
    return f"SELECT * FROM (VALUES {', '.join([empty, *rows])}) AS found({columns}) WHERE count IS NOT NULL"


def _steps(graph: Graph, kind: str) -> list[str]:
    """The steps that write a kind, in their order."""
    return list(dict.fromkeys(node.step for node in graph.writing(kind)))


def _weights(graph: Graph) -> str:
    """What was fitted of filters, each by the name of its step."""
    names = [
        f"({text(node.step)}, {place}, {text(step)})"
        for node in graph.writing("weights")
        for place, step in enumerate(dict.fromkeys(graph.nodes[name].step for name in node.reads["matches"]), start=1)
    ]
    named = ", ".join(["(NULL::VARCHAR, NULL::SMALLINT, NULL::VARCHAR)", *names])
    return f"""
        SELECT {MADE_BY} AS step, coalesce(name, 'intercept') AS filter, weight, auc,
               own_texts, shuffled_texts, held_out_texts
        FROM raw_weights LEFT JOIN (VALUES {named}) AS named({MADE_BY}, filter, name) USING ({MADE_BY}, filter)
        ORDER BY {MADE_BY}, raw_weights.filter
    """


def _images(flagged: Sequence[str]) -> str:
    """Every input row with what became of its image.

    Args:
        flagged: words that are offensive.
    """
    return f"""
        SELECT images.*, {_HOST.replace("url", "images.url", 1)} AS host, urls.text,
               {text_tag("urls.text")} AS text_tag, {text_flags("urls.text", flagged)} AS text_flags
        FROM raw_images AS images JOIN urls USING (key)
    """


def _captions(scorers: Mapping[str, Sequence[str]], flagged: Sequence[str]) -> str:
    """Every candidate with all that is said of it.

    Args:
        scorers: by kind of scores, the steps that write them. The only one of its kind is `clip_score` or `itm_score`;
            of several each has a column `score_<step>`.
        flagged: words that are offensive.
    """
    joins, columns, errors = [], list[str](), ["captions.error"]
    for kind, steps in scorers.items():
        view, score = _SCORES[kind]
        for number, step in enumerate(steps):
            alias = f"{view}_{number}"
            name = score if len(steps) == 1 else identifier(f"score_{step}")
            joins.append(
                f"LEFT JOIN (SELECT key, writer, candidate, {score} AS {name}, error AS {alias} FROM {view}"
                f" WHERE {MADE_BY} = {text(step)}) USING (key, writer, candidate)"
            )
            columns.append(name)
            errors.append(alias)
        if len(steps) != 1:
            columns.append(f"NULL::FLOAT AS {score}")
    return f"""
        SELECT key, captions.{MADE_BY} AS writer, candidate, origin, caption, logprob, {", ".join(columns)},
               "rank", kept, reason, coalesce({", ".join(errors)}, NULL) AS error,
               CASE WHEN origin = 'web' THEN {text_tag("captions.caption")} END AS text_tag,
               {text_flags("captions.caption", flagged)} AS text_flags, captions.shard,
               urls.* EXCLUDE (key, shard, text, texts, file, questions, {MADE_BY})
        FROM raw_captions AS captions JOIN urls USING (key)
        {" ".join(joins)}
        LEFT JOIN (SELECT key, writer, candidate, "rank", kept, reason FROM selected) USING (key, writer, candidate)
    """
