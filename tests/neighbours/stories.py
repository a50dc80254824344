"""The runs whose neighbours are asked here."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from canaryd.model.run import Pin, Run
from canaryd.model.traffic import Version
from canaryd.settings import Settings
from tests.report import stories

NOW = stories.BEGAN + 400.0


@cache
def rolled_back() -> Run:
    """Ended after some 45 seconds, because v3 fails."""
    return stories.play(stories.FAULTY)[0]


@cache
def in_flight() -> Run:
    return stories.play(stories.HEALTHY, lambda run: run.step == 1)[0]


def renamed(run: Run, name: str) -> Run:
    """The same where everything that a person may name is called ``name``."""
    pin = Pin((name,), name, ("u",), ("h",))
    route = replace(
        run.route, namespace=name, virtual_service=name, stable=Version(name, name), canary=Version(name, name)
    )
    return replace(run, route=route, stable_pin=pin, canary_pin=pin)


def given(**settings: Any) -> Settings:
    """The settings as a file would say them."""
    return Settings(**settings)
