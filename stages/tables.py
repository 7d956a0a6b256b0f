"""The tables that pass between stages: their column names, types and closed sets, once."""

from __future__ import annotations

from typing import Final, Literal, get_args

import pyarrow as pa

Origin = Literal[
    "web",  # the list's own text
    "synthetic",  # a captioner's
    "human",  # written by people for this image
    "shuffled",  # written by people for another image: what filters are tried on, and nothing else
]
"""Where a candidate comes from."""

ANSWERS = pa.list_(
    pa.struct(
        [
            pa.field("answer", pa.string()),  # as it was given
            pa.field("count", pa.int32()),  # how many people gave it
            pa.field("weight", pa.float64()),  # what it counts in training
        ]
    )
)
"""The different answers that people gave to a question, the first one first."""
ASKED = [
    pa.field("question_id", pa.string()),  # what the question is called in results, mostly a number
    pa.field("question", pa.string()),
    pa.field("answer_type", pa.string()),  # `yes/no`, `number` or `other`, where the list says so
    pa.field("answers", ANSWERS),  # none where they are not published
]
"""What there is of one question."""

URLS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # unique in the run: <source>-<part>-<shard>-<row>
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),  # None where the image came without one
        pa.field("text", pa.string()),  # the web text, or the first human caption
        pa.field("texts", pa.list_(pa.string())),  # every human caption; None for a web source
        pa.field("file", pa.string()),  # the image below the source's `images:` folder, where it is already at hand
        pa.field("questions", pa.list_(pa.struct(ASKED))),  # about the image; None for a source without any
    ]
)
"""One row per input row; the source's own columns that were asked for (`keep:`) follow, as `own_columns` calls them."""

IMAGES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),  # the reason in words, None on success
        pa.field("width", pa.int32()),  # pixels of the stored image
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("sha256", pa.string()),  # of the bytes as they came
        pa.field("md5", pa.string()),
        pa.field("member", pa.string()),  # the image's name in the tar, None where there is none
        pa.field("retry", pa.int16(), nullable=False),  # the `capfilt retry` that it came by, 0 = without one
    ]
)
"""One row per row of the URL shard, in its order."""

RETRY: Final = "retry"
"""What a urls table of rows that are tried again says in its metadata: which `capfilt retry` that is, from 1."""

HASHES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("hash", pa.uint64(), nullable=False),  # 64 bits, few of which differ between pictures that look alike
    ]
)
"""One row per downloaded image."""

DUPLICATES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("original", pa.string(), nullable=False),  # the key of the earliest image that it is a copy of
        pa.field("rule", pa.string(), nullable=False),  # Rule
    ]
)
"""One row per image that is a copy of an earlier one, of all shards of a source, ordered by shard and key."""

Rule = Literal["url", "content", "near"]
"""What makes an image a copy: the same address, the same bytes, or (nearly) the same looks."""

CAPTIONS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),  # the fingerprint of the step that wrote it
        pa.field("candidate", pa.int16(), nullable=False),  # 0 = the web text, or shuffled; 1..n = synthetic, or human
        pa.field("origin", pa.string(), nullable=False),  # Origin
        pa.field("caption", pa.string(), nullable=False),  # "" where the web text is empty
        pa.field("logprob", pa.float32()),  # sum over the sampled tokens incl. the end token; None unless synthetic
        pa.field("error", pa.string()),  # why the image could not be captioned; None normally
    ]
)
"""One row per candidate of every downloaded image, ordered by image, then candidate. A candidate is a key, a writer and
a number. An image that could not be captioned has one row, of number 0 and without a text, whose error says what it is,
and where there are details, a colon and these."""

QUESTIONS = pa.schema([pa.field("key", pa.string(), nullable=False), *ASKED])
"""One row per question about every downloaded image, ordered by image, in the order of the list."""

ANSWERED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),  # "" with an error
        pa.field("error", pa.string()),  # why the question could not be answered; None normally
    ]
)
"""One row per question that is measured on, in the order of QUESTIONS."""

PREDICTIONS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("result_id", pa.string(), nullable=False),  # what the image is called in results, mostly a number
        pa.field("subset", pa.string()),  # which part of the benchmark it belongs to (NoCaps: `in-domain`, ...)
        pa.field("caption", pa.string(), nullable=False),  # "" with an error
        pa.field("logprob", pa.float32()),  # as in CAPTIONS
        pa.field("error", pa.string()),  # why the image could not be captioned; None normally
    ]
)
"""One row per image that is measured on, in the order of its list."""

SIMILARITIES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("candidate", pa.int16(), nullable=False),
        pa.field("clip_score", pa.float32()),  # cosine in [-1, 1]; None for an empty text, or with an error
        pa.field("error", pa.string()),  # why the row could not be scored; None normally
    ]
)

MATCHES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("candidate", pa.int16(), nullable=False),
        pa.field("itm_score", pa.float32()),  # probability of "match" in [0, 1]; None for an empty text, or an error
        pa.field("error", pa.string()),  # as in SIMILARITIES
    ]
)

WEIGHTS = pa.schema(
    [
        pa.field("filter", pa.int16(), nullable=False),  # its place among the filters that were read; 0 = the intercept
        pa.field("weight", pa.float64(), nullable=False),  # of the log-odds of its score
        pa.field("auc", pa.float64(), nullable=False),  # of it alone; of the intercept's row, of all together
        pa.field("own_texts", pa.int64(), nullable=False),  # texts of the images' own that the weights were fitted on
        pa.field("shuffled_texts", pa.int64(), nullable=False),  # those of other images
        pa.field("held_out_texts", pa.int64(), nullable=False),  # texts of both sorts that the area was measured on
    ]
)
"""How the scores of several filters tell own texts from other images' together: one row per filter, and one more."""

REPEATS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("candidate", pa.int16(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),  # how many have this text
    ]
)
"""One row per candidate whose text too many images have and that is not to be kept, ordered by shard and key."""

SELECTION = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("candidate", pa.int16(), nullable=False),
        pa.field("rank", pa.int16()),  # 1 = best by CLIP among those allowed; None if not allowed
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # Reason
    ]
)

TRAINING = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),  # such as `loss`
        pa.field("value", pa.float64()),
    ]
)
"""What a training measured on its way; beside it lies the model, a folder in a public format."""

CHECKPOINT: Final = "checkpoint"
"""The ending of the folder beside such a table."""

WEIGHTS_FILE: Final = "model.safetensors"
"""The file in that folder that holds the weights."""

ALL: Final = (
    URLS,
    IMAGES,
    HASHES,
    DUPLICATES,
    CAPTIONS,
    QUESTIONS,
    ANSWERED,
    PREDICTIONS,
    SIMILARITIES,
    MATCHES,
    WEIGHTS,
    REPEATS,
    SELECTION,
    TRAINING,
)

Reason = Literal[
    "kept",  # among the best k
    "human",  # a human annotation: kept as it is
    "shuffled",  # another image's text, which only tries the filters
    "outranked",  # allowed, but k better ones exist, or enough of the same writer
    "below_threshold",  # the ITM filter calls it noise
    "unscored",  # a text without the score that decides: its row in the rank or filter table has an error
    "common",  # a text that too many images have, and that others keep
    "duplicate",  # the same text as an earlier candidate of the image
    "empty",  # no text
]

Status = Literal[
    "success",
    "invalid_url",  # no http(s) address
    "refused_address",  # the host, or what it redirects to, lies at an address that is not public
    "removed",  # on the removal list, by its address or by its content
    "dns",  # the host has no address
    "connection",  # refused, reset or closed early
    "tls",  # the certificate or handshake failed
    "timeout",
    "host_down",  # not asked: the host had failed again and again
    "http_later",  # 408, 425, 429 or 503: the server asked to come later, and went on to do so
    "http_4xx",  # any other
    "http_5xx",
    "http_other",  # a redirect loop or an answer that is none
    "opted_out",  # the server's X-Robots-Tag disallows this use
    "not_an_image",  # nothing that the decoder can read, truncated files among them
    "too_large",  # more bytes or more pixels than the recipe allows
    "too_small",
    "bad_aspect",
    "missing_file",  # a local image that is not there
    "error",  # anything else; `error` says what
]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
