"""X-Robots-Tag: what a header says, to whom, and when."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture

from stages.download.dates import named_wait, parse_date
from stages.download.robots import Rule, disallowed_by, rules

OPT_OUT = ("noai", "noimageai", "noindex", "noimageindex")
NOW = datetime(2026, 6, 25, 15, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("noai", "noai"),
        ("NoAI , NOFOLLOW", "noai"),
        ("noarchive;\tnoai", "noai"),
        ("none", "none"),
        ("all", None),
        ("index, follow, all", None),
        ("noarchive", None),
        ("max-image-preview:large, noai", "noai"),
        ("max-snippet: -1, max-video-preview: -1", None),
        ("noai: yes", "noai: yes"),
        ("notrain: all-of-it, noai", "noai"),  # a directive that nobody knows, with a value
        ("future-rule: 5, other: x, noindex", "noindex"),
        ("googlebot: noindex", None),
        ("googlebot: nofollow, noai", None),
        ("googlebot: max-snippet: 5, noai", None),
        ("CapFilt : NoAI", "noai"),
        ("googlebot: all, capfilt: noindex", "noindex"),
        ("capfilt: all, googlebot: noindex", None),
        ("*: noai", "noai"),
        ("", None),
        (", ,:,", None),
    ],
)
def test_what_a_header_disallows(header: str, found: str | None) -> None:
    assert disallowed_by([header], OPT_OUT, "capfilt", NOW) == found


@pytest.mark.parametrize(
    ("date", "is_past"),
    [
        ("Tue, 25 Jun 2030 15:00:00 GMT", False),
        ("Thu, 25 Jun 2026 14:59:59 GMT", True),
        ("Thu, 25 Jun 2026 10:00:00 -0500", True),  # this very second
        ("Thu, 25 Jun 2026 10:00:01 -0500", False),
        ("25 Jun 2010 15:00:00 PST", True),
        ("Thursday, 25-Jun-26 15:00:00 GMT", True),
        ("Saturday, 25-Jun-30 15:00:00 GMT", False),
        ("23-Jul-2007 18:00:00 EST", True),
        ("Tue Jun 25 15:00:00 2030", False),
        ("2026-06-25T17:00:00+02:00", True),
        ("2026-06-25T17:00:00+01:00", False),
        ("2026-06-25T15:00:01Z", False),
        ("2026-06-25", True),
        ("2026-06-26", False),
        ("Fri, 26 Jun 2026", False),
        ("25 Jun 2026", True),
        ("Tue, 99 Jun 2020 25:00:00 GMT", False),  # no date
        ("some day", False),
        ("", False),
    ],
)
def test_after_its_date_a_page_is_as_noindex(date: str, is_past: bool) -> None:
    header = f"UNAVAILABLE_AFTER: {date}"
    assert (disallowed_by([header], OPT_OUT, "capfilt", NOW) is not None) == is_past
    assert disallowed_by([header], ("noai",), "capfilt", NOW) is None
    assert disallowed_by([f"{header}, noai"], ("noai",), "capfilt", NOW) == "noai"
    assert disallowed_by([f"googlebot: {header}, noai"], OPT_OUT, "capfilt", NOW) is None
    assert (disallowed_by([f"capfilt: {header}"], ("unavailable_after",), "capfilt", NOW) is not None) == is_past


SPACE = st.text(" \t", max_size=2)
AGENTS = st.sampled_from(["", "googlebot", "capfilt", "other-bot_2", "a.b"])
PLAIN = ["noai", "noindex", "all", "none", "noarchive", "noimageai"]
VALUES = {
    "max-snippet": ["-1", "50"],
    "max-image-preview": ["large"],
    "unavailable_after": ["25 Jun 2010 15:00:00 PST", "2030-06-25T15:00:00+00:00", "25-Jun-30 15:00:00 GMT"],
    "x-unknown": ["a:b", "5", "never"],
}
DIRECTIVES = st.sampled_from([(name, "") for name in PLAIN] + [(n, value) for n, vs in VALUES.items() for value in vs])
HEADER = st.lists(st.tuples(AGENTS, st.lists(DIRECTIVES, min_size=1, max_size=4)), min_size=1, max_size=3)


@settings(deadline=None, max_examples=50)
@given(HEADER, st.data())
def test_what_is_written_by_the_grammar_is_read_as_it_was_meant(
    groups: list[tuple[str, list[tuple[str, str]]]], data: st.DataObject
) -> None:
    items, meant, holds = [], [], ""
    for agent, directives in groups:
        if agent and directives[0][0] == "x-unknown":
            directives.insert(0, ("noai", ""))  # an agent shows only by a directive that is known
        holds = agent or holds
        for number, (name, value) in enumerate(directives):
            words = [*([agent] if agent and number == 0 else []), name, *([value] if value else [])]
            space = f"{data.draw(SPACE)}:{data.draw(SPACE)}"
            text = space.join(word.upper() if data.draw(st.booleans()) and word != value else word for word in words)
            items.append(f"{data.draw(SPACE)}{text}{data.draw(SPACE)}")
            meant.append(Rule(holds, name, value))
    assert list(rules([",".join(items)])) == meant
    assert list(rules([*items[:1], "noai"]))[-1] == Rule("", "noai", "")  # another header speaks to everybody again


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=60), max_size=3), st.text("ntu:, ;-_ea10JTM", max_size=60))
def test_any_text_is_read(headers: list[str], more: str) -> None:
    for rule in rules([*headers, more]):
        assert rule.directive == rule.directive.strip().lower() != ""
    disallowed_by([*headers, more], OPT_OUT, "capfilt", NOW)
    assert disallowed_by([*headers, more, "noai"], OPT_OUT, "capfilt", NOW)


DATES = st.datetimes(datetime(1970, 1, 2), datetime(2068, 1, 1)).map(lambda date: date.replace(microsecond=0))


@settings(deadline=None, max_examples=50)
@given(DATES, st.integers(-12, 14))
def test_a_date_is_the_same_in_all_its_forms(date: datetime, hours: int) -> None:
    found = date.replace(tzinfo=UTC)
    elsewhere = (found + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S") + f"{hours:+03d}:00"
    forms = [
        format_datetime(found, usegmt=True),
        format_datetime(found),
        found.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        found.strftime("%a %b %d %H:%M:%S %Y"),
        found.isoformat(),
        elsewhere,
    ]
    assert {parse_date(form) for form in forms} == {found.timestamp()}
    assert named_wait(forms[:1], found.timestamp() - 90) == 90
    assert named_wait(forms[:1], found.timestamp() + 90) == 0


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["5"], 5),
        ([" 120 "], 120),
        (["0"], 0),
        (["1.5"], 1.5),
        (["1", "30", "x"], 30),
        (["-5"], None),
        (["nan"], None),
        (["inf"], None),
        (["1e9"], None),
        (["1_000"], None),
        (["tomorrow"], None),
        (["\u0661"], None),  # a digit, but none of HTTP
        ([""], None),
        ([], None),
        (["86400"], 86_400),
        (["86401"], None),
        (["1000000000", "7"], 7),
        (["9" * 5000], None),
        (["Sat, 25 Jun 2033 15:00:00 GMT"], None),
    ],
)
def test_waits_as_servers_name_them(values: list[str], seconds: float | None) -> None:
    assert named_wait(values, NOW) == seconds


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40) | st.text("0123456789 -:,/+.TZGMTJunTue", max_size=40))
def test_any_text_is_a_date_or_none(text: str) -> None:
    date, wait = parse_date(text), named_wait([text], NOW)
    assert date is None or -1e11 < date < 1e12
    assert wait is None or wait >= 0


def test_answers_that_opt_out_are_not_kept_redirects_included(web: Web, download: Run) -> None:
    jpeg = encoded(picture())
    year = time.gmtime().tm_year
    headers = ["none", "all", f"unavailable_after: Tue, 25 Jun {year + 2} 1:00:00 GMT", "unavailable_after: 2020-01-01"]
    urls = [web.image(f"/{n}", jpeg, X_Robots_Tag=header) for n, header in enumerate(headers)]
    web.pages["/moved"] = lambda h: h.answer(302, b"", {"Location": "/good.jpg", "X-Robots-Tag": "noai"})
    output = download([{"url": url} for url in [*urls, web.url("/moved")]])
    assert output.table["status"].to_pylist() == ["opted_out", "success", "success", "opted_out", "opted_out"]
    assert output.table["error"][0].as_py() == "X-Robots-Tag says none"
    assert web.hits["/good.jpg"] == 0
