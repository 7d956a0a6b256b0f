"""Addresses where nothing would be kept, and those where it is."""

from __future__ import annotations

import pytest

from stages.io.places import why_no_place


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("memory://x/y", "is gone when the process ends"),
        ("s3://", "names no bucket"),
        ("gs:///folder", "names no bucket"),
        ("s3:", "'s3:' is no folder; write s3://bucket/folder"),
        ("s3:/bucket/x", "is no folder"),
        ("file://", "names no folder"),
        ("file:", "is no folder"),
        ("zip://x.zip", "is one file"),
        ("zip://a::x.zip", "is one file"),
        ("simplecache::s3://bucket/x", "a filesystem within another one"),
        ("https://host/x", "can only be read"),
        ("sftp://", "names no bucket"),
    ],
)
def test_no_place(address: str, told: str) -> None:
    assert told in why_no_place(address)


@pytest.mark.parametrize(
    "address",
    [
        "out",
        "/",
        ".",
        "a::b/out",
        "a:b",
        "notes:/x",
        "file:///x",
        "file://x",
        "s3://bucket",
        "gs://b/a::b",
        "sftp://h/x",
    ],
)
def test_a_place(address: str) -> None:
    assert why_no_place(address) == ""
