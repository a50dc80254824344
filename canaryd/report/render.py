"""A run's report in the form that somebody asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal

from canaryd.model.measuring import Query
from canaryd.model.run import Run
from canaryd.report.decisions import Entry
from canaryd.report.document import Link, as_data, document
from canaryd.report.html import html
from canaryd.report.markdown import markdown

Form = Literal["html", "md", "json"]
FORMS: tuple[Form, ...] = ("html", "md", "json")


def render(
    run: Run,
    journal: Sequence[Entry],
    form: Form,
    links: Iterable[Link | tuple[str, str, str]] = (),
    traces: Iterable[Link | tuple[str, str, str]] = (),
    queries: Sequence[Query] = (),
) -> str:
    """
    The report of ``run`` with its ``journal`` (oldest first) as one text: a page, Markdown, or JSON.

    ``links`` and ``traces`` are (title, url, what it shows). ``queries`` are those that the run asked
    (``metrics.asked``); ``app.report`` fills them in.
    """
    told = document(run, journal, links, traces, queries)
    if form == "json":
        text = json.dumps(as_data(told), indent=2, ensure_ascii=False) + "\n"
    else:
        text = markdown(told) if form == "md" else html(told)
    return text.encode("utf-8", "replace").decode()  # half a surrogate is no character, and no file holds it
