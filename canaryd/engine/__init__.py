"""The shell around the core: one tick, the collectors beside it, and the ports to the world."""
