"""What a key says of its row: `<source>-<file>-<row>`, and of further equal rows of the file a number behind it."""

from __future__ import annotations

import re
from typing import Final

ROW_DIGITS: Final = 16
_ROW: Final = re.compile(rf"-([0-9a-f]{{{ROW_DIGITS}}})(?:-\d+)?$")


def row_of(key: str) -> str:
    """The hex digits of the row's address and text: the same in every list, file and place of one.

    A key that has none, as of tables that others made, stands for itself.
    """
    found = _ROW.search(key)
    return found[1] if found else key
