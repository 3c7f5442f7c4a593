// The custom resource definitions that the tests apply, out of the modules of those who define them. Nothing is built.
module hookgate.dev/tests/servers/definitions

go 1.24

require (
	github.com/cert-manager/cert-manager v1.18.2
	github.com/envoyproxy/gateway v1.9.1
	github.com/projectcontour/contour v1.33.6
	github.com/prometheus-operator/prometheus-operator v0.84.0
)
