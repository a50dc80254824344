"""From Istio's objects to Envoy's configuration, as istiod does it, and the thread that keeps it true."""
