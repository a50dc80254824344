"""
Receivers over HTTP: the port ``Webhooks``.

One request, one deadline, no redirect, no retry in here: when to ask again is for the doorkeeper to say, who keeps
nobody waiting. Each request has a connection of its own, so that keys and authorities that were replaced are read anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from canaryd import __version__
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.gates import events
from canaryd.gates.answers import reply_of
from canaryd.gates.named import Kind, barred
from canaryd.gates.sending import headers_of, kept_key, posted, secrets_of, struck
from canaryd.gates.signature import signed
from canaryd.model import codes
from canaryd.model.asking import Condition, Reply, Term
from canaryd.model.gate import Webhook as Asked
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.run import Run
from canaryd.settings import Webhook

WEBHOOK = Kind("webhook", "webhooks", "ask", codes.WEBHOOK_BARRED)


class Webhooks:
    """
    The receivers of ``settings``, by name.

    ``clock`` gives Unix seconds. May be used from any number of threads.
    """

    def __init__(self, settings: Mapping[str, Webhook], clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """As the port says: names that the settings do not know, or not for this namespace; keys that are none."""
        found = []
        for name, path in sorted(plan.webhooks.items()):
            objection = barred(self._settings, WEBHOOK, name, plan.namespace, path)
            if objection is None:
                try:
                    self._key(name)
                except CanarydError as error:
                    objection = Problem(f"webhooks.{name}.key", str(error), "a key", code=codes.WEBHOOK_BARRED.name)
            found += [objection] if objection else []
        return tuple(found)

    def ask(self, run: Run, term: Term, condition: Condition) -> Reply:
        """As the port says."""
        assert isinstance(term.part, Asked)  # noqa: S101  # for the type checker: only webhooks are asked here
        body = events.body_of(events.question(run, term, condition))
        return self._sent(run, term.part.name, term.id, body, condition.times + 1)

    def tell(self, run: Run, name: str) -> Reply:
        """As the port says."""
        return self._sent(run, name, events.end_id(run, name), events.body_of(events.ending(run, name)), 1)

    def _sent(self, run: Run, name: str, identity: str, body: bytes, attempt: int) -> Reply:
        if objection := barred(self._settings, WEBHOOK, name, run.plan.namespace, run.plan.webhooks.get(name, "")):
            raise Rejected(str(objection))
        hook = self._settings[name]
        try:
            headers = {
                **headers_of(hook.headers, f"webhooks.{name}"),
                "content-type": events.CONTENT_TYPE,
                "accept": "application/json",
                "user-agent": f"canaryd/{__version__}",
                "canaryd-attempt": str(attempt),
                **signed(self._key(name), identity, self._clock(), body),
            }
            reply = reply_of(*posted(hook, headers, body), self._clock())
        except Unavailable as error:
            return Reply("silent", str(error))
        after = reply.after if reply.after is not None or reply.said == "silent" else hook.every
        return Reply(reply.said, struck(reply.why, secrets_of(hook.headers)), after)

    def _key(self, name: str) -> bytes:
        return kept_key(self._settings[name].key, f"webhooks.{name}.key")
