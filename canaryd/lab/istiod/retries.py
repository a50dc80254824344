"""
Retries: Istio's default, and what an entry says instead.

Source: Istio pilot/pkg/networking/core/route/retry/retry.go (DefaultPolicy, ConvertPolicy, parseRetryOn).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from canaryd.lab.istiod.objects import only, seconds

Json = dict[str, Any]

# Since 1.24 without the status 503: `retriable-status-codes` then retries only what a request's own header asks for.
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_ATTEMPTS = 2
CODES = frozenset(str(status.value) for status in HTTPStatus)
FIELDS = {"attempts", "perTryTimeout", "retryOn", "retryRemoteLocalities", "retryIgnorePreviousHosts", "backoff"}
RETRY = "type.googleapis.com/envoy.extensions.retry"


def retry_policy(retries: Json | None, where: str, *, hashed: bool = False) -> Json | None:
    """
    Envoy's retry policy for an entry's `retries`; None where retries are off (`attempts: 0`).

    A retry goes to a host that was not tried yet, but not with a consistent hash (`hashed`), which that would break.
    """
    written = retries or {}
    only(written, FIELDS, f"{where}, retries")
    attempts = written.get("attempts") or 0
    if retries is not None and attempts <= 0:
        return None
    conditions, codes = _conditions(written.get("retryOn") or DEFAULT_RETRY_ON)
    policy: Json = {
        "retry_on": ",".join(conditions),
        "num_retries": attempts or DEFAULT_ATTEMPTS,
        "host_selection_retry_max_attempts": 5,
    }
    if codes:
        policy["retriable_status_codes"] = codes
    elsewhere = written.get("retryIgnorePreviousHosts")
    if (not hashed) if elsewhere is None else elsewhere:
        policy["retry_host_predicate"] = [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{RETRY}.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ]
    if written.get("perTryTimeout"):
        policy["per_try_timeout"] = seconds(written["perTryTimeout"], f"{where}, retries.perTryTimeout")
    if written.get("retryRemoteLocalities"):
        policy["retry_priority"] = {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": f"{RETRY}.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 2,
            },
        }
    if written.get("backoff"):
        policy["retry_back_off"] = {"base_interval": seconds(written["backoff"], f"{where}, retries.backoff")}
    return policy


def _conditions(retry_on: str) -> tuple[list[str], list[int]]:
    """Envoy's words, and the HTTP statuses that Istio lets stand among them."""
    parts = [part for part in (each.strip() for each in retry_on.split(",")) if part]
    codes = [int(part) for part in parts if part in CODES]
    words = [part for part in parts if part not in CODES]
    if codes and "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    return words, codes
