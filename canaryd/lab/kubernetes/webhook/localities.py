"""
Which localities a traffic policy prefers, and where it fails over to.

Source: Istio, pkg/config/validation/agent/validation.go (ValidateLocalityLbSetting, validateLocalities,
ValidateZoneAwareLbSetting).
"""

from __future__ import annotations

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.problems import Problems, warning, wrong

_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
_NO_OUTLIERS = "outlier detection policy must be provided for failover"


def locality_setting(setting: Object | None, outlier: Object | None) -> Problems:
    setting = setting or {}
    distribute, failover = setting.get("distribute") or [], setting.get("failover") or []
    priority = setting.get("failoverPriority") or []
    if distribute and failover:
        yield wrong("can not simultaneously specify 'distribute' and 'failover'")
        return
    for label in priority if failover else []:
        if label in _TOPOLOGY:
            both = f"can not simultaneously set 'failover' and topology label '{label}' in 'failover_priority'"
            yield wrong(both)
            return
    for one in distribute:
        refusal = _shares_refusal(list(((one or {}).get("to") or {}).values()))
        if refusal:
            yield wrong(refusal)
            return
        yield from _apart(list(((one or {}).get("to") or {}).keys()))
    yield from _apart([(one or {}).get("from") or "" for one in distribute])
    if (failover or priority) and outlier is None:
        yield warning(_NO_OUTLIERS)
    yield from _failovers(failover, "locality lb", "locality lb failover only specify region")


def _shares_refusal(shares: list[int]) -> str:
    if any(not 1 <= share <= 100 for share in shares):
        return "locality weight must be in range [1, 100]"
    return f"total locality weight {sum(shares)} != 100" if sum(shares) != 100 else ""


def _apart(localities: list[str]) -> Problems:
    """``region/zone/subzone``, each part or all behind it a wildcard; none may be within another."""
    earlier: list[list[str]] = []
    for locality in localities:
        if locality.count("*") > 1 or ("*" in locality and not locality.endswith("*")):
            yield wrong(f"locality {locality} wildcard '*' number can not exceed 1 and must be in the end")
            return
        if ["*"] in earlier:
            yield wrong(f"locality {locality} overlap with previous specified ones")
            return
        parts = locality.split("/", 2)
        if "" in parts:
            yield wrong(f"locality {locality} must not contain empty region/zone/subzone info")
            return
        if any(_within(parts, one) for one in earlier):
            yield wrong(f"locality {locality} overlap with previous specified ones")
            return
        earlier.append(parts)


def _within(parts: list[str], earlier: list[str]) -> bool:
    """Whether an earlier locality contains this one or lies in it; a wildcard counts in the earlier one only."""
    theirs = earlier[:-1] if earlier[-1] == "*" else earlier
    shared = min(len(parts), len(theirs))
    return parts[:shared] == theirs[:shared]


def zone_aware_setting(setting: Object | None, outlier: Object | None) -> Problems:
    setting = setting or {}
    failover, priority = setting.get("failover") or [], setting.get("failoverPriority") or []
    for label in priority:
        if label in _TOPOLOGY:
            automatic = "region- and zone-level routing are handled automatically"
            yield wrong(f"'failover_priority' for zone aware lb must not use topology label '{label}'; {automatic}")
    if (failover or priority) and outlier is None:
        yield warning(_NO_OUTLIERS)
    only = "zone aware lb failover only specifies region; zone and subzone failover are handled automatically"
    yield from _failovers(failover, "zone aware lb", only)


def _failovers(failover: list[Object], name: str, only_regions: str) -> Problems:
    for one in failover:
        here, there = (one or {}).get("from") or "", (one or {}).get("to") or ""
        if here == there:
            yield wrong(f"{name} failover settings must specify different regions")
        if "/" in here or "/" in there:
            yield wrong(only_regions)
        if "*" in here or "*" in there:
            yield wrong(f"{name} failover region should not contain '*' wildcard")
