"""
Gates, as a plan writes them: what has to be said before traffic rises.

A gate names conditions, and all of them must hold. Each has a limit and what happens otherwise: nothing waits for ever,
and no answer is never a yes. A webhook is named, and never written out: where it is stands in canaryd's settings.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from canaryd.model.part import Name, Part, PositiveDuration, Text, no_url

Otherwise = Literal["rollback", "hold"]


WebhookName = Annotated[
    Name, BeforeValidator(lambda value: no_url(value, "the name of a webhook in the settings (webhooks)"))
]


class Approve(Part):
    """A person's yes before the next weight."""

    limit: PositiveDuration = timedelta(hours=4)
    """How long the run waits for it."""
    otherwise: Otherwise = "rollback"
    """What happens when nobody came: roll back, or go on holding."""
    by: tuple[Text, ...] = ()
    """Who may say it, by name; when left out: whoever may command the run. In a cluster it is RBAC that decides who can
    write the command, and canaryd's admission policy that it bears its author's name."""


class Webhook(Part):
    """A receiver outside of canaryd is asked, until it says yes."""

    name: WebhookName
    """Its name in canaryd's settings (``webhooks``), which say where it is and who may ask it."""
    limit: PositiveDuration = timedelta(hours=4)
    """How long the run waits for its yes. An outage of the receiver is no answer, and waits as well."""
    otherwise: Otherwise = "rollback"
    """What happens when no yes came: roll back, or go on holding and asking."""
    on_no: Otherwise = "rollback"
    """It said no: roll back at once, or hold and go on asking until the limit."""


class Alert(Part):
    """Alerts of the run's Prometheus that must not fire."""

    names: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The alerts, by ``alertname``."""
    labels: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str] = {}  # noqa: RUF012  # pydantic copies it
    """Only alerts that have these labels, each with exactly this value."""
    while_firing: Otherwise = "hold"
    """One of them fires when the gate is reached, or while it waits: hold, or roll back at once."""
    limit: PositiveDuration = timedelta(hours=1)
    """How long the run waits for none to fire. A Prometheus that does not answer is waited for as well."""
    otherwise: Otherwise = "rollback"
    """What happens when that did not come: roll back, or go on holding."""


class Gate(Part):
    """A hold written in the plan. All conditions that it names must hold; each has a limit."""

    approve: Approve | None = None
    """A person has to say yes: ``canaryd approve``."""
    webhooks: tuple[Webhook, ...] = ()
    """Receivers that have to say yes, each by itself."""
    alert: Alert | None = None
    """Alerts that must not fire."""

    @model_validator(mode="after")
    def _asks_something_and_each_once(self) -> Self:
        if self.approve is None and not self.webhooks and self.alert is None:
            raise ValueError("at least one of approve, webhooks and alert")
        names = [webhook.name for webhook in self.webhooks]
        if len(set(names)) != len(names):
            raise ValueError(f"webhooks: each once, got {', '.join(names)}")
        return self


class Gates(Part):
    """Gates that belong to no step, so that a policy can set them for plans whose steps it does not know."""

    start: Gate | None = None
    """Before the first weight, once both versions are ready: nothing has been shifted yet."""
    promotion: Gate | None = None
    """Before 100 %, beside the gate of the last step."""
    end: tuple[WebhookName, ...] = ()
    """Webhooks that are told how the run ended. They are asked nothing, and nobody waits for them."""
