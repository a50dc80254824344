"""
Messages on their way out: one message, one channel, one attempt, and what came back.

A channel is known by the name that the settings give it, and by nothing that a plan could write. When to try again, and
what is still to be sent, is for the engine's courier to say.
"""

from canaryd.notify.channels import Channels

__all__ = ["Channels"]
