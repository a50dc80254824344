"""
The release manager's desk: what a person may see of plans and runs and ask of them, wherever these live.

One port, :class:`Desk`, on a state folder and on a cluster. What acts here has no power of its own: in a cluster every
request goes out with the credentials of the person at the desk, so that the API server decides what they may. The
command line sits on it, and so can anything else that has somebody's token.
"""

from __future__ import annotations

from canaryd.desk.asking import VERBS, ask_for, turned_down, unproven, void, void_release
from canaryd.desk.cluster import ClusterDesk
from canaryd.desk.data import decision_data, depth_data, plan_data, run_data
from canaryd.desk.finding import Unknown, find, find_plan, known
from canaryd.desk.folder import FolderDesk
from canaryd.desk.port import Decided, Desk, Entry, NotGranted, SeenPlan, SeenRun

__all__ = [
    "VERBS",
    "ClusterDesk",
    "Decided",
    "Desk",
    "Entry",
    "FolderDesk",
    "NotGranted",
    "SeenPlan",
    "SeenRun",
    "Unknown",
    "ask_for",
    "decision_data",
    "depth_data",
    "find",
    "find_plan",
    "known",
    "plan_data",
    "run_data",
    "turned_down",
    "unproven",
    "void",
    "void_release",
]
