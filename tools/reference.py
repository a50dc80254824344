"""Write docs/plan-reference.md and docs/scenario-reference.md from the models, so that they cannot differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from canaryd.lab.scenarios.format import Scenario
from canaryd.model.plan import Part, Plan

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


def reference() -> str:
    """The whole text of the page about plans."""
    return HEAD + "".join(_section(title or "The plan", part) for title, part in _parts(Plan, ""))


def scenario_reference() -> str:
    """The whole text of the page about scenarios."""
    return SCENARIO_HEAD + "".join(_section(title or "The scenario", part) for title, part in _parts(Scenario, ""))


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
    for name, text in (("plan-reference.md", reference()), ("scenario-reference.md", scenario_reference())):
        (DOCS / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")
