"""The Grafana dashboard: what Grafana's own models make of it, and whether its queries ask for what there is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from canaryd import telemetry
from tests.deploy.test_rules import OURS

ROOT = Path(__file__).parents[2]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNMODELLED = {".annotations.list[0].builtIn"}
"""What Grafana writes itself and its models have not got."""


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy/grafana/canaryd.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """Every PromQL expression, with Grafana's variables as Grafana fills them in."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [one["expr"] for one in dashboard()["annotations"]["list"] if "expr" in one]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            found.append(re.sub(r"^label_values\((.*), \w+\)$", r"\1", variable["query"]["query"]))
    filled = {"$__rate_interval": "1m", "$__range": "3h", "$namespace": ".*", "$plan": "reviews|ratings"}
    for name, value in filled.items():
        found = [query.replace(name, value) for query in found]
    return found


def lost(written: Any, read: Any, path: str = "") -> Iterator[str]:
    """The paths of what did not survive; an empty value is as good as none."""
    if isinstance(written, dict):
        for key, value in written.items():
            if isinstance(read, dict) and key in read:
                yield from lost(value, read[key], f"{path}.{key}")
            elif value not in ("", [], {}, None, False):
                yield f"{path}.{key}"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")
    elif written != read:
        yield path


def test_grafana_s_own_models_know_everything_in_it() -> None:
    """A misspelt option is ignored by Grafana without a word."""
    plugins.register_default_plugins()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard())))
    assert set(lost(dashboard(), read)) == UNMODELLED


def test_every_query_is_promql(promtool: Path, tmp_path: Path) -> None:
    """A panel with a query that does not parse shows a red triangle."""
    named = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": named}]}))
    done = subprocess.run(
        [promtool, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$" not in " ".join(queries())


def test_the_queries_ask_only_for_metrics_that_there_are() -> None:
    """A renamed metric leaves a panel empty."""
    assert set(OURS.findall("\n".join(queries()))) <= {one.name for one in telemetry.exported()}


def test_what_a_run_exports_is_shown() -> None:
    """A metric that nobody sees costs and helps nobody."""
    of_runs = {one.name for one in telemetry.exported() if one.name.startswith("canaryd_run_")}
    shown = set(OURS.findall("\n".join(queries())))
    assert of_runs <= shown


def test_no_datasource_is_somebody_s_own() -> None:
    """A uid of ours is nobody's Prometheus anywhere else."""
    text = json.dumps(dashboard())
    uids = set(re.findall(r'"uid": "([^"]*)"', text))
    assert uids == {DATASOURCE["uid"], "-- Grafana --"}
    assert all(panel["datasource"] == DATASOURCE for panel in panels())
    assert all(target["datasource"] == DATASOURCE for panel in panels() for target in panel["targets"])


def test_the_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    """Grafana pushes an overlapping panel somewhere else, and links to a panel by its id."""
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
