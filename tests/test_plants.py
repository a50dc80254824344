"""The planted violations of `make rules`: here only that each still has a place in the code."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def test_every_planted_violation_still_applies() -> None:
    """A plant whose text has moved guards nothing any more; `make rules` plants them all."""
    place = Path(__file__).resolve().parent.parent / "tools" / "plant.py"
    spec = importlib.util.spec_from_file_location("plant", place)
    assert spec
    assert spec.loader
    plant = importlib.util.module_from_spec(spec)
    sys.modules["plant"] = plant
    spec.loader.exec_module(plant)
    assert plant.misplaced() == []
    assert len({one.name for one in plant.PLANTS}) == len(plant.PLANTS) >= 25
