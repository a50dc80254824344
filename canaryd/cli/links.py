"""``canaryd links``: where else a run is to be seen, and example requests that its canary answered badly."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import typer

from canaryd.cli.exits import Exit
from canaryd.cli.output import stop
from canaryd.cli.places import Place
from canaryd.cli.reading import sought
from canaryd.cli.tables import say_data
from canaryd.model.links import Link, Trace, Traces
from canaryd.neighbours import neighbourhood
from canaryd.report.beside import answered
from canaryd.report.outlook import moment


def show_links(place: Place, which: str, output: Literal["text", "json", "yaml"]) -> None:
    """Print them. Raises Rejected where there is no such run; ends the command where no neighbour is set."""
    settings, desk = place.settings(), place.desk()
    run = desk.run(sought(desk, which))
    if not (settings.kiali or settings.grafana or settings.tracing):
        raise stop(
            Exit.USAGE,
            "canaryd: no neighbour is set: say where kiali, grafana or tracing is, in a file for --config or in "
            "CANARYD_KIALI, CANARYD_GRAFANA, CANARYD_TRACING",
        )
    links, traces = neighbourhood(run, settings)
    if output != "text":
        found = [asdict(one) for one in traces.found]
        for one in found:
            one["failed"] = list(one["failed"])
        say_data({"links": [asdict(one) for one in links], "traces": {"found": found, "why": traces.why}}, output)
        return
    typer.echo("\n".join([*(_link(one) for one in links), _traces(traces)]))


def _link(link: Link) -> str:
    return f"{link.title}\n  {link.shows}\n  {link.url}\n"


def _traces(traces: Traces) -> str:
    if not traces.found:
        return traces.why
    return "\n".join(["Example traces", *(line for one in traces.found for line in _trace(one))])


def _trace(trace: Trace) -> list[str]:
    lines = [f"  {moment(trace.at)}  {trace.kind}: {answered(trace)}"]
    lines += [f"    failed: {one}" for one in trace.failed]
    return [*lines, f"    {trace.url or trace.id}"]
