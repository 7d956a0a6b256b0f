"""What the run has made of real pictures: lines for people, and a sheet to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from tests.real import sheet
from tests.real.capfilt import FORMER, LATTER, Capfilt
from tests.real.judge import auc_of
from tests.real.measure import auc, share_in_common, shuffled
from tests.real.places import CLIP, STAMPS, WEB_TRUTH

TIMES = 5
"""Wrong texts for every right one."""
MOMENTS = {"before": FORMER, "after": LATTER}

Rows = list[dict[str, Any]]


def report(capfilt: Capfilt) -> None:
    """Print it, and keep it with the sheet beside the run."""
    capfilt.report.mkdir(parents=True, exist_ok=True)
    parts = (_web, _judging, _captions, _retrieval)
    lines = [line for part in parts for line in part(capfilt)]
    (capfilt.report / "report.txt").write_text("".join(f"{line}\n" for line in lines))
    sheet.make(_predictions(capfilt), _candidates(capfilt), capfilt.report / "sheet.png")
    print("\n".join(lines))
    print(f"look at {capfilt.report / 'sheet.png'}")


def _predictions(capfilt: Capfilt) -> dict[str, Rows]:
    """What both captioners wrote of the held-out photographs, in one order, with the truths."""
    sql = (
        "SELECT u.file, u.texts[1] AS truth, p.caption FROM predictions p JOIN urls u USING (key) "
        "WHERE p.made_by = 'predict{}' ORDER BY u.file"
    )
    return {moment: capfilt.ask(sql.format(behind)) for moment, behind in MOMENTS.items()}


def _candidates(capfilt: Capfilt) -> Rows:
    return capfilt.ask(
        "SELECT url, origin, caption, kept, itm_score FROM captions WHERE source = 'web' ORDER BY url, origin DESC"
    )


def _web(capfilt: Capfilt) -> Iterator[str]:
    """How much of the web came, and what the filter did to the texts that were another picture's."""
    yield "the web"
    for row in capfilt.ask("SELECT source, step, count FROM funnel"):
        yield f"  {row['source']:<11} {row['step']:<14} {row['count']:>6}"
    for row in capfilt.ask("SELECT reason, count FROM losses WHERE stage = 'download'"):
        yield f"  lost at download: {row['count']} {row['reason']}"
    truth = pq.read_table(WEB_TRUTH).to_pylist()
    own = {row["url"]: row["own_text"] == row["text"] for row in truth}
    rows = capfilt.ask(
        "SELECT url, kept, clip_score, itm_score FROM captions WHERE origin = 'web' AND itm_score IS NOT NULL"
    )
    right, wrong = [row for row in rows if own[row["url"]]], [row for row in rows if not own[row["url"]]]
    for name, column in {"composed CLIP": "clip_score", "matcher": "itm_score"}.items():
        found = auc([row[column] for row in right], [row[column] for row in wrong])
        yield f"  AUC of the {name} on the web's own against misplaced texts: {found:.3f}"
    yield f"  kept: {_share(right):.1f} % of {len(right)} own texts, {_share(wrong):.1f} % of {len(wrong)} misplaced"
    written = capfilt.ask("SELECT kept FROM captions WHERE origin = 'synthetic'")
    yield f"  kept: {_share(written):.1f} % of {len(written)} captions written"


def _share(rows: Rows) -> float:
    return 100 * fmean(bool(row["kept"]) for row in rows)


def _judging(capfilt: Capfilt) -> Iterator[str]:
    """Right against shuffled captions of the held-out photographs."""
    rows = _predictions(capfilt)["before"]
    pictures, truths = [STAMPS / row["file"] for row in rows], [row["truth"] for row in rows]
    texts = [list(each) for each in zip(truths, *shuffled(truths, TIMES), strict=True)]
    yield f"held-out photographs: {len(rows)}, each with {TIMES} captions of others"
    yield f"  AUC of the composed CLIP: {auc_of(CLIP, 'ranker', pictures, texts):.3f}"
    for moment, behind in MOMENTS.items():
        model = capfilt.export(f"matcher{behind}")
        yield f"  AUC of the matcher {moment}: {auc_of(model, 'filter', pictures, texts):.3f}"


def _captions(capfilt: Capfilt) -> Iterator[str]:
    yield "captions of held-out photographs that share a content word with the truth"
    for moment, rows in _predictions(capfilt).items():
        texts, truths = [row["caption"] for row in rows], [row["truth"] for row in rows]
        chance = fmean(share_in_common(texts, others) for others in shuffled(truths, TIMES))
        distinct = len(set(texts))
        yield (
            f"  {moment:<7} {100 * share_in_common(texts, truths):5.1f} %   shuffled {100 * chance:4.1f} %   "
            f"{distinct} of {len(texts)} captions are different"
        )


def _retrieval(capfilt: Capfilt) -> Iterator[str]:
    yield "retrieval of held-out photographs    R@1    R@5   R@10"
    rows = capfilt.ask("SELECT made_by, model, direction, k, 100 * recall AS recall FROM retrieval ORDER BY k")
    for direction in ("image_to_text", "text_to_image"):
        for model in ("chance", "matcher_itc", "matcher_itm"):
            for moment, behind in MOMENTS.items():
                found = [row["recall"] for row in rows if _is(row, f"evaluate{behind}", model, direction)]
                if model != "chance" or moment == "before":
                    name = f"{direction.replace('_', ' ')} {model} {moment if model != 'chance' else ''}"
                    yield f"  {name:<33}" + " ".join(f"{value:6.1f}" for value in found)


def _is(row: Mapping[str, Any], step: str, model: str, direction: str) -> bool:
    return (row["made_by"], row["model"], row["direction"]) == (step, model, direction)
