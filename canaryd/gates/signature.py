"""
The signature of what is sent, as Standard Webhooks 1.0 has it, so that receivers need no code of canaryd's.

``webhook-signature: v1,<base64>`` is HMAC-SHA-256 over ``<webhook-id>.<webhook-timestamp>.<body>``. The time is signed
too, so that a receiver can refuse what somebody sends again later. Source: standard-webhooks/standard-webhooks,
spec/standard-webhooks.md, "Verifying webhook authenticity".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
SHORTEST = 16
"""Bytes of a key; the standard asks for 24 to 64."""


def key_of(text: str) -> bytes:
    """The key that a text holds: base64 after ``whsec_``, else its own bytes. Raises ValueError where it is none."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else text.encode()
    except binascii.Error:
        raise ValueError(f"base64 after {PREFIX}") from None
    if len(key) < SHORTEST:
        raise ValueError(f"a key of at least {SHORTEST} bytes; make one with: openssl rand -hex 32")
    return key


def signed(key: bytes, identity: str, at: float, body: bytes) -> dict[str, str]:
    """The three headers that go with ``body``, sent at ``at`` (Unix seconds) as the message ``identity``."""
    timestamp = str(int(at))
    digest = hmac.digest(key, f"{identity}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": identity,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
