"""Policies of the cluster, good and broken."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.controller.policies import Policies
from canaryd.model.problem import Refused

Object = dict[str, Any]


def policy(name: str, **spec: Any) -> Object:
    meta = {"name": name, "uid": "u-1", "resourceVersion": "7"}
    return {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryPolicy", "metadata": meta, "spec": spec}


def test_what_people_wrote_is_read_by_name() -> None:
    """And what the API server added is not."""
    found = Policies(lambda: [policy("default", watch="5m"), policy("careful", onDrift="abort")])()
    assert found["default"]["spec"] == {"watch": "5m"}
    assert found["careful"]["spec"] == {"onDrift": "abort"}


def test_a_broken_policy_goes_on_as_it_was() -> None:
    """Its last good text; and once it is mended, the new one."""
    there = [policy("careful", watch="5m")]
    policies = Policies(lambda: there)
    policies()
    there[0] = policy("careful", watsch="1m")
    assert policies()["careful"]["spec"] == {"watch": "5m"}
    assert policies()["careful"]["spec"] == {"watch": "5m"}
    there[0] = policy("careful", watch="1m")
    assert policies()["careful"]["spec"] == {"watch": "1m"}


def test_a_deleted_policy_is_gone_also_where_it_was_broken() -> None:
    """Its last good text is not for ever."""
    there = [policy("careful", watch="5m")]
    policies = Policies(lambda: there)
    policies()
    there.clear()
    assert policies() == {}
    there.append(policy("careful", watsch="1m"))
    assert policies() == {}


def test_a_default_that_never_could_be_read_lets_no_plan_through() -> None:
    """It may be stricter than canaryd's own defaults; another one is merely not there."""
    assert Policies(lambda: [policy("careful", watsch="1m")])() == {}
    with pytest.raises(Refused, match=r"CanaryPolicy default: spec\.watsch"):
        Policies(lambda: [policy("default", watsch="1m")])()
