"""
The nouns of canaryd: frozen data without behaviour that could surprise.

Nothing here reads a clock, a file or the network. Times are Unix seconds (``float``), durations are ``timedelta``.
"""
