"""
The mesh: the object that holds the weights, and the pods behind both versions.

Everything that reads or plans is pure and works on plain JSON objects; only ``virtualservice`` talks to the API.
"""
