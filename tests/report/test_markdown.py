"""The report as Markdown."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from canaryd.model.finding import Finding
from canaryd.report.render import render
from tests.report import stories

HOSTILE = "# x\n\n</details><script>alert(1)</script> | [a](javascript:alert(2)) `b` **c** @all ```\n- d"


def parsed(text: str) -> list[Token]:
    """The text as a reader of Markdown takes it."""
    return MarkdownIt("commonmark").enable("table").parse(text)


@pytest.mark.parametrize("story", stories.EVERY)
def test_every_table_is_as_wide_as_its_head(story):
    """A row with a column too many is cut off without a word."""
    text = render(*story(), "md")
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    assert text.count("<details>") == text.count("</details>") > 0


def test_what_others_wrote_means_nothing():
    """A reason ends up in a ticket: it must not close a block, begin a heading, call somebody, or be a link."""
    run, journal = stories.aborted(HOSTILE, HOSTILE)
    odd = Finding("PortSniffed", "warning", HOSTILE, HOSTILE)
    text = render(replace(run, uid=HOSTILE, findings=(odd,)), journal, "md")
    head = text.partition("## Plan")[0]
    assert not re.search(r"(?<!\\)@all", head)
    tokens = parsed(head)
    assert "link_open" not in {token.type for token in tokens}
    markup = {token.content.strip() for token in tokens if token.type.startswith("html")}
    assert {re.sub(r"<summary>[^<]*</summary>", "", one).strip() for one in markup} <= {"<details>", "</details>"}
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    assert [one for one in headings if one.startswith("x")] == []
    read = "".join(child.content for token in tokens for child in token.children or ())
    assert " ".join(HOSTILE.split()) in read, "and it is shown as it was written"


@pytest.mark.parametrize(
    ("reason", "told"), [("1. x", "1\\. x"), ("- x", "\\- x"), ("=", "\\="), ("0.5 % x", "0.5 % x"), ("2) x", "2\\) x")]
)
def test_a_line_begins_no_list(reason, told):
    """A backslash before a digit would be shown: it is the sign behind it that is escaped."""
    run, journal = stories.rolled_back()
    assert f"\n{told}\n" in render(replace(run, reason=reason), journal, "md")


def test_a_plan_cannot_close_its_own_fence():
    run, journal = stories.promoted()
    spec = run.plan.spec.model_copy(update={"release": "````\n# x"})
    text = render(replace(run, plan=run.plan.model_copy(update={"spec": spec})), journal, "md")
    fence = re.search(r"^(`+)yaml$", text, flags=re.MULTILINE)
    assert fence is not None
    assert len(fence[1]) == 5


def test_a_picture_is_told_in_words():
    text = render(*stories.rolled_back(), "md")
    assert "*Share of failed requests. Over the whole run: stable 0" in text
    assert re.search(r"Evidence of harm over time, logarithmic\. Last: [\d,]+", text)
