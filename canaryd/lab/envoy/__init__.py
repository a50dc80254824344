"""The lab's data plane: one Envoy process that is every proxy and every pod."""
