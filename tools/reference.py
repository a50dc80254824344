"""Write the pages of docs/ that list what the code knows, from the code, so that they cannot differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from canaryd.lab.scenarios.format import Scenario
from canaryd.model.finding import LEVELS
from canaryd.model.plan import Part, Plan
from canaryd.preflight.groups import GROUPS, Group

DOCS = Path(__file__).parent.parent / "docs"
HEAD = """# The plan, key by key

After this page you can write any plan that canaryd understands.
It is made from the code by `make reference`; a test fails when it is stale.

Durations have units (`90s`, `5m`, `1h30m`), shares a percent sign (`0.5%`), weights are numbers of percent.
Unknown keys are refused with a suggestion. `canaryd validate PLAN` says everything that is wrong at once.
"""
SCENARIO_HEAD = """# The scenario, key by key

After this page you can write any scenario that the lab plays; [scenarios.md](scenarios.md) shows how.
It is made from the code by `make reference`; a test fails when it is stale.

Durations have units (`90s`, `500ms`), shares a percent sign (`0.5 %`), weights are percent, rates requests a second.
Unknown keys are refused with a suggestion, and everything that is wrong is said at once.
"""
PREFLIGHT_HEAD = """# Preflight: will this canary mean anything?

After this page you know what `canaryd preflight PLAN` looks at, and what to do about each thing that it finds.
The list is made from the code by `make reference`; a test fails when it is stale.

```
canaryd preflight PLAN                  # everything that is found, each with a command to type
canaryd preflight PLAN --wait 10m       # wait for what passes by itself (pods that start, no traffic yet)
canaryd preflight PLAN --strict         # warnings stop a pipeline too
canaryd preflight PLAN -o json          # findings[]: code, level, where, sentence, remedy, details ...; -o yaml
canaryd diff PLAN                       # what each step would change in the VirtualService, rehearsed and not written
```

It reads objects, rights and metrics, and changes nothing. Exit codes: 0 nothing speaks against a run, 13 an error does.

What stops a run comes first, and each finding says what to type where there is something. Here somebody's test has left
a VirtualService behind, and a port has lost its protocol (shortened):

```
$ canaryd preflight plan.yaml
error    VirtualServiceNotInForce  VirtualService default/reviews
         not in force for reviews.default.svc.cluster.local: VirtualService default/reviews-test has
         it too and is exported to that namespace by name, so that sidecars in namespace default
         obey that one and drop this (IST0109)
         $ kubectl delete virtualservice reviews-test -n default

warning  PortSniffed  Service default/reviews port 9080
         named web, which names no protocol: Istio guesses what is spoken for v1 and v3 from each
         connection's first bytes (if it speaks gRPC, `grpc` must stand in the command instead of
         `http`)
         $ kubectl patch service reviews -n default --type=json -p '[{"op":"add","path":"/spec/ports/0/appProtocol",\
"value":"http"}]'

...
note     Outlook  spec.steps
         at 104 requests a second the proof comes late, by a hold after the last step: a proof takes
         about 2,600 canary requests, 24 s at 50 % bring about 1,300; 51 s would do; the steps take
         about 83 s; a rise of failures by 9.5 % of all requests is found at 5 %, a rise of failures
         by 1.8 % of all requests is found at 50 %; a canary that always fails would fail about 57
         requests at 5 % before it is taken back

plan default/reviews: 2 errors, 2 warnings, 2 notes: a run would be refused
```

**Each run does the same before it begins.** An *error* stops it: `canaryd run` ends with 13 (`--wait` waits for what is
transient), a CanaryPlan shows it in its condition `Accepted` and is tried again. A *warning* bends what is measured or
weakens the way back; it is told at the start (event `run.preflight`). A *note* is good to know. What did not stop the
run is kept with it: `status.findings` of the CanaryRun, the journal's first entries, `canaryd explain`.

**An error that you know better** is accepted in the plan, with a reason that stays with the run:

```yaml
spec:
  acceptFindings:
    - {code: PortSniffed, reason: "a proxy in front speaks HTTP here, checked by Ann"}
```

What admission itself refuses (the first list below) cannot be accepted: it is what a run needs to move weights safely.
A plan that only observes (`mode: observe`) is stopped by nothing that preflight finds; all of it is said.

What canaryd's account may not read is left out and said (`NotLookedAt`). No check needs more than reading.
"""


def reference() -> str:
    """The whole text of the page about plans."""
    return HEAD + "".join(_section(title or "The plan", part) for title, part in _parts(Plan, ""))


def scenario_reference() -> str:
    """The whole text of the page about scenarios."""
    return SCENARIO_HEAD + "".join(_section(title or "The scenario", part) for title, part in _parts(Scenario, ""))


def preflight_reference() -> str:
    """The whole text of the page about preflight's findings."""
    return PREFLIGHT_HEAD + "".join(map(_codes, GROUPS))


def _codes(group: Group) -> str:
    lines = [f"\n## {group.title}\n", "| code | level | what it means | what to do |", "|---|---|---|---|"]
    for code in sorted(group.codes, key=lambda one: LEVELS.index(one.level)):
        passes = ", transient" if code.transient else ""
        lines.append(f"| `{code.name}` | {code.level}{passes} | {code.cause} | {code.remedy} |")
    return "\n".join(lines) + "\n"


def _parts(part: type[Part], path: str) -> Iterator[tuple[str, type[Part]]]:
    yield path, part
    for name, field in part.model_fields.items():
        inner = _inner(field.annotation)
        if inner is not None:
            many = "[]" if "tuple" in str(field.annotation) else ""
            yield from _parts(inner, f"{path}.{field.alias or name}{many}".lstrip("."))


def _inner(annotation: Any) -> type[Part] | None:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((found for argument in getattr(annotation, "__args__", ()) if (found := _inner(argument))), None)


def _section(path: str, part: type[Part]) -> str:
    lines = [
        f"\n## {path if path.startswith('The ') else f'`{path}`'}\n",
        f"{(part.__doc__ or '').replace('``', '`')}\n",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    whole = part.model_construct()
    for name, field in part.model_fields.items():
        meaning = " ".join((field.description or "").split()).replace("``", "`")
        lines.append(f"| `{field.alias or name}` | {_default(part, whole, name)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(part: type[Part], whole: Part, name: str) -> str:
    field = part.model_fields[name]
    if field.default is PydanticUndefined:
        return "*needed*"
    shown = whole.model_dump(mode="json", include={name}, by_alias=True, warnings=False).get(field.alias or name)
    if isinstance(shown, dict) or (isinstance(shown, list) and shown and isinstance(shown[0], dict)):
        return "see below"
    return "" if shown in (None, "", [], {}) else f"`{shown}`"


if __name__ == "__main__":
    pages = {
        "plan-reference.md": reference(),
        "scenario-reference.md": scenario_reference(),
        "preflight.md": preflight_reference(),
    }
    for name, text in pages.items():
        (DOCS / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")
