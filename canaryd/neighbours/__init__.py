"""
The neighbours: Kiali, Grafana, and Jaeger or Tempo, which people look at beside a run.

No run needs any of them, and nothing here is anything that a tick could wait for: links are computed, traces are asked
for by who shows them, and annotations are written by a thread of their own. What is not set is not there.
"""

from canaryd.neighbours.annotations import Annotations
from canaryd.neighbours.looking import SECONDS, example_traces, neighbourhood

__all__ = ["SECONDS", "Annotations", "example_traces", "neighbourhood"]
