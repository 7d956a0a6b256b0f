r"""What was measured, and what a selection keeps and loses, as SQL over the tables of all steps.

`noise` counts what a filter rejects (BLIP, Li et al. 2022, table 2: the noise ratio is the share of texts that are
filtered out). `diversity` counts the different words and n-grams of what is kept, by themselves and over all that there
are (distinct-n of Li et al. 2016, arXiv 1510.03055). A word is a run of letters, marks and digits of any script in
lower case, `[\p{L}\p{M}\p{N}]+`; n-grams end with their caption.
"""

from __future__ import annotations

from typing import Final

from stages.evaluate.spec import TOLD

# ruff: noqa: S608 - the SQL is this project's own
_CHOSEN: Final = """
    SELECT steps.step, steps.round, source, key, origin, caption, kept
    FROM raw_select JOIN steps USING (made_by, source) JOIN raw_captions USING (key, writer, candidate, source)
"""
_WORDS: Final = r"regexp_extract_all(lower(caption), '[\p{L}\p{M}\p{N}]+')"
_GRAMS: Final = " UNION ALL ".join(
    f"""
    SELECT step, source, {n} AS n, unnest(list_transform(range(1, len(words) - {n - 2}),
           lambda i: array_to_string(words[i:i + {n - 1}], ' '))) AS gram
    FROM split WHERE kept
    """
    for n in (1, 2, 3)
)

MEASURES: Final = {
    # a query that was not found is none at every k; an order drawn at random misses r right ones of n among the first k
    # with the probability (n - r) / n * (n - r - 1) / (n - 1) * ..., k factors
    "retrieval": f"""
        WITH sizes AS (
            SELECT source, made_by, min(model) AS one_model,
                   (count(*) FILTER (direction = 'image_to_text') // count(DISTINCT model))::INTEGER AS images,
                   (count(*) FILTER (direction = 'text_to_image') // count(DISTINCT model))::INTEGER AS texts
            FROM ranks GROUP BY source, made_by
        ), asked AS (
            SELECT ranks.*, k, images, texts, one_model,
                   CASE direction WHEN 'image_to_text' THEN texts ELSE images END AS answers
            FROM ranks JOIN sizes USING (source, made_by) CROSS JOIN (SELECT unnest({list(TOLD)})::INTEGER AS k)
        ), alike AS (
            SELECT source, direction, k, images, texts, shard, made_by, "right", count(*) AS queries,
                   list_aggregate(list_transform(range(least(k, answers)),
                       lambda i: greatest(answers - "right" - i, 0) / (answers - i)), 'product') AS missed
            FROM asked WHERE model = one_model GROUP BY ALL
        )
        SELECT source, model, direction, k, avg(coalesce("rank" <= k, false)::INTEGER) AS recall, images, texts, shard,
               made_by
        FROM asked GROUP BY ALL
        UNION ALL
        SELECT source, 'chance', direction, k,
               1 - list_sum(list(missed * queries ORDER BY "right")) / sum(queries), images, texts, shard, made_by
        FROM alike GROUP BY ALL
    """,
    "captioning": "SELECT * EXCLUDE (key) FROM raw_captioning WHERE key IS NULL",
    # of what a filter judges the web's text alone is candidate 0, so nobody has to join the captions
    "noise": """
        SELECT step, round, source, CASE candidate WHEN 0 THEN 'web' ELSE 'synthetic' END AS origin, count(*) AS texts,
               count(*) FILTER (reason IN ('below_threshold', 'kept', 'outranked')) AS judged,
               count(*) FILTER (reason = 'below_threshold') AS rejected, count(*) FILTER (kept) AS kept,
               rejected / nullif(judged, 0) AS noise_ratio
        FROM raw_select JOIN steps USING (made_by, source) WHERE reason NOT IN ('human', 'empty', 'shuffled')
        GROUP BY step, round, source, origin
    """,
    "diversity": f"""
        WITH split AS (SELECT step, round, source, origin, kept, {_WORDS} AS words FROM ({_CHOSEN})),
        grams AS (SELECT step, source, n, gram, count(*) AS times FROM ({_GRAMS}) GROUP BY ALL),
        counted AS (
            SELECT step, source, count(*) FILTER (n = 1) AS distinct_words, count(*) FILTER (n = 2) AS distinct_bigrams,
                   count(*) FILTER (n = 3) AS distinct_trigrams,
                   distinct_words / nullif(sum(times) FILTER (n = 1), 0) AS distinct_1,
                   distinct_bigrams / nullif(sum(times) FILTER (n = 2), 0) AS distinct_2,
                   distinct_trigrams / nullif(sum(times) FILTER (n = 3), 0) AS distinct_3
            FROM grams GROUP BY step, source
        ), web AS (
            SELECT DISTINCT step, source, unnest(words) AS gram FROM split WHERE origin = 'web'
        ), survived AS (
            SELECT step, source, count(*) AS web_words, count(times) / count(*) AS web_words_kept
            FROM web LEFT JOIN (FROM grams WHERE n = 1) USING (step, source, gram) GROUP BY step, source
        ), kept AS (
            SELECT step, round, source, count(DISTINCT key) AS images, count(*) AS kept_captions,
                   count(DISTINCT caption) AS distinct_captions
            FROM ({_CHOSEN}) WHERE kept GROUP BY ALL
        )
        SELECT step, round, source, images, kept_captions, distinct_captions, distinct_words, distinct_bigrams,
               distinct_trigrams, distinct_1, distinct_2, distinct_3, web_words, web_words_kept
        FROM kept LEFT JOIN counted USING (step, source) LEFT JOIN survived USING (step, source)
    """,
}
"""By the name of the view."""
