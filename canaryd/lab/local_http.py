"""
One HTTP exchange with a part of the lab on 127.0.0.1: no retries, no redirects, no proxies from the environment.
"""

from __future__ import annotations

import http.client

from canaryd.errors import Unavailable


def exchange(
    address: tuple[str, int],
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    deadline: float = 3.0,
) -> tuple[int, str]:
    """The status and text of the answer. Raises Unavailable when nobody answers within `deadline` seconds."""
    connection = http.client.HTTPConnection(*address, timeout=deadline)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"http://{address[0]}:{address[1]} does not answer: {error!r}") from error
    finally:
        connection.close()
