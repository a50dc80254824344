"""
Scenarios: what happens to a service while canaryd releases it, and how that must end, as files.

``format`` reads them, ``player`` plays them on a lab, ``acts`` is what it does there, ``outcome`` holds what was
observed against what was expected, ``library`` is the collection that comes with canaryd.
"""
