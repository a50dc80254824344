"""The lab's webhook on random objects, against what Istio's own validators said of them (tools/istio_verdicts)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from canaryd.lab.kubernetes.webhook import validate
from canaryd.lab.kubernetes.webhook.problems import told

VERDICTS = Path(__file__).parent / "verdicts.jsonl"


def said(text: str) -> list[str]:
    """The errors in the text of a refusal, in any order, behind the line that counts them if it has one."""
    text = re.sub(" +", " ", text)
    head, _, rest = text.partition(" occurred:\n\t* ")
    return [head, *sorted(rest.rstrip("\n").split("\n\t* "))] if rest else [text]


def test_random_objects_get_istios_own_verdict() -> None:
    rows: list[dict[str, Any]] = [json.loads(line) for line in VERDICTS.read_text(encoding="utf-8").splitlines()]
    differ = []
    for row in rows:
        problems = validate(row["object"])
        wrong = [one for one in problems if not one.warning]
        errors = said(told(wrong)) if wrong else []
        warnings = sorted(one.text for one in problems if one.warning)
        if (errors, warnings) != (row["errors"], row["warnings"]):
            differ.append((row["object"], errors, warnings))
    assert len(rows) > 100
    assert not differ
