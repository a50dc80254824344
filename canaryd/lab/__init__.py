"""
The lab: a real Envoy, a real Prometheus and our own Kubernetes API on one machine, for demo, trials and tests.

Nothing but the command line may import it, and the product never does: canaryd meets the lab only through a kubeconfig
and a Prometheus URL, as it meets any cluster.
"""
