"""Where counts come from: the queries, the reading of their answers, and the adapter that asks Prometheus."""
