"""
canaryd as a controller: CanaryPlans become CanaryRuns, and what ended is watched over.

Above the composition root, because it steers a whole :class:`~canaryd.app.Canaryd`: it begins and ends one with each
term of leadership.
"""
