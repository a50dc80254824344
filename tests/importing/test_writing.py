"""What is written is what was meant, whatever stands in it."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from canaryd.importing.writing import WIDTH, written

TEXTS = st.one_of(
    st.text(max_size=12), st.sampled_from(["a: b", "# no", "yes", "1", "- x", "a\n  b\nc\n", "", " a", 'x{a="b"}'])
)
SCALARS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_any_content_is_read_back_as_it_was(content: dict[str, Any]) -> None:
    assert yaml.safe_load(written(content, {})) == content


@given(st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1), st.text(max_size=300))
def test_remarks_change_nothing(content: dict[str, Any], remark: str) -> None:
    remarks = {(key,): remark for key in content}
    assert yaml.safe_load(written(content, remarks, remark)) == content


def test_short_parts_are_on_one_line_and_long_ones_are_not() -> None:
    content = {"a": {"b": 1, "c": {"d": "text"}}, "e": [{"f": "x" * WIDTH}], "g": [1, 2]}
    text = written(content, {("a",): "why"})
    assert text == f"# why\na: {{b: 1, c: {{d: text}}}}\ne:\n  - f: {'x' * WIDTH}\ng: [1, 2]\n"


def test_a_query_keeps_its_lines() -> None:
    text = written({"query": "sum(\n  rate(x[1m])\n)"}, {})
    assert text == "query: |-\n  sum(\n    rate(x[1m])\n  )\n"
