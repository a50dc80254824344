"""
Runs of the lab with their journals, kept as they were: ``canaryd lab demo``, real Envoy, real Prometheus.

The raw JSON is beside the models, so that a test can add up for itself what a report says.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from canaryd.model.run import Run

FOLDER = Path(__file__).parent / "lab"
NAMES = ("promoted", "rolled_back")
_RUN = TypeAdapter(Run)


@dataclass(frozen=True)
class Real:
    """A run, the same as raw JSON, and its journal's lines."""

    run: Run
    raw: dict[str, Any]
    journal: list[dict[str, Any]]

    @property
    def cells(self) -> list[dict[str, Any]]:
        """What was counted, as the journal has it."""
        return [cell for entry in self.journal for cell in entry["saw"]["cells"]]


@cache
def real(name: str) -> Real:
    raw = json.loads(gzip.decompress((FOLDER / f"{name}.run.json.gz").read_bytes()))
    lines = gzip.decompress((FOLDER / f"{name}.journal.jsonl.gz").read_bytes()).decode().splitlines()
    return Real(_RUN.validate_python(raw), raw, [json.loads(line) for line in lines])
