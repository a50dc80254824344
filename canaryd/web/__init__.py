"""
The release manager's page (``canaryd ui``): an application of its own, apart from the controller.

It has no power of its own: whatever it reads or asks goes out with the credentials of the person in front of it,
through the desk (``canaryd.desk``), and what it shows of a run is the report (``canaryd.report``), so that the two
never differ.
"""
