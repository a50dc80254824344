"""
What is outside at a gate: the receivers of webhooks.

A receiver is known by the name that the settings give it, and by nothing that a plan could write: who can apply a plan
must not be able to send canaryd, with its place in the network, wherever they like.
"""

from canaryd.gates.webhooks import Webhooks

__all__ = ["Webhooks"]
