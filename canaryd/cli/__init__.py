"""
The command line: thin. Each command parses, calls, prints, and ends with an exit code that says how it went.

Heavy imports are inside the commands: ``canaryd --version`` imports no client library.
"""

from __future__ import annotations

from canaryd.cli.main import app

__all__ = ["app"]
