"""
Logging: one event per fact, a dotted name with values as keys, on standard error.

Text for a person at a terminal, JSON for a machine elsewhere. Libraries' own logging is let through from warnings on.
"""

from __future__ import annotations

import logging
import sys

import structlog


def set_up(log_format: str = "auto", level: str = "info") -> None:
    """Send structlog's events and the libraries' warnings to standard error."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not text else structlog.dev.set_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_ToStandardError(),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # The client libraries log each lost connection with their own words; ours says it once, as an event.
    for library in ("urllib3", "kubernetes", "apscheduler"):
        logging.getLogger(library).setLevel(logging.ERROR)


class _ToStandardError:
    """
    Loggers that write to standard error as it is when they write.

    A reader that went away (a closed terminal, ``| head``) must not end the run that is told of.
    """

    def __call__(self, *_: object) -> _ToStandardError:
        return self

    def msg(self, message: str) -> None:
        try:
            print(message, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = fatal = log = msg
