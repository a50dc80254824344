"""A run's report in the form that somebody asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal

import yaml

from canaryd.model.links import Link
from canaryd.model.measuring import Query
from canaryd.model.run import Run
from canaryd.report.decisions import Entry
from canaryd.report.document import as_data, document
from canaryd.report.html import html
from canaryd.report.markdown import markdown

Form = Literal["html", "md", "json", "yaml"]
FORMS: tuple[Form, ...] = ("html", "md", "json", "yaml")

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The one in C where there is one: a report has tens of thousands of lines."""


def render(
    run: Run,
    journal: Sequence[Entry],
    form: Form,
    links: Iterable[Link] = (),
    traces: Iterable[Link] = (),
    queries: Sequence[Query] = (),
) -> str:
    """
    The report of ``run`` with its ``journal`` (oldest first) as one text: a page, Markdown, JSON, or the same as YAML.

    ``links`` and ``traces`` are what can be opened elsewhere. ``queries`` are those that the run asked
    (``metrics.asked``); ``app.report`` fills them in.
    """
    told = document(run, journal, links, traces, queries)
    if form in ("json", "yaml"):
        text = json.dumps(as_data(told), indent=2, ensure_ascii=False) + "\n"
        text = _as_yaml(text) if form == "yaml" else text
    else:
        text = markdown(told) if form == "md" else html(told)
    return text.encode("utf-8", "replace").decode()  # half a surrogate is no character, and no file holds it


def _as_yaml(text: str) -> str:
    """What is JSON as YAML, with the same keys in the same order."""
    return yaml.dump(json.loads(text), Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=120)
