"""
Your own objects in the lab: read as they are kept in Git or exported from a cluster, completed, and called.

`reading` takes what matters for traffic out of files and says what it passed over; `completing` invents the Services
and Deployments that other files of yours would hold; `calling` finds a request that the plan's entry answers.
"""
