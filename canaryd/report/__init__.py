"""
Readings of a run for people: in the terminal, in a log, in a file, in a sentence.

Nothing here decides anything, and nothing words a reason anew: what the machine and the judge said is shown as it is.
"""
