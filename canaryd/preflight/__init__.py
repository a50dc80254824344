"""
Preflight: will this canary mean anything in this mesh? Asked before traffic moves.

Objects and metrics are read once (``looking.py``, ``hearing.py``); checks are pure functions of what was read, a module
for each subject, with its codes beside them (``groups.py`` lists them). What a run cannot do without is found by
admission, with codes too (``model/codes.py``).
"""
