// The CRDs that the real API server of the tests serves, as the modules that their makers publish.
module canaryd.io/envtest/crds

go 1.25.0

require (
	istio.io/api v1.32.0
	sigs.k8s.io/gateway-api v1.6.3
)
