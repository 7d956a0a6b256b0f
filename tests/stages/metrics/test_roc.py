from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.metrics.roc import roc_auc


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=60))
def test_roc_auc_counts_pairs(rows):
    scores, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    pairs = [np.sign(one - two) / 2 + 0.5 for one in scores[right] for two in scores[~right]]
    counted = np.mean(pairs) if pairs else float("nan")
    assert roc_auc(scores, right) == pytest.approx(counted, nan_ok=True)
