"""canaryd: canary analysis and traffic shifting for Istio."""

__version__ = "0.1.0"
