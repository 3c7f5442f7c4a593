// The flux command of the tests: built from a copy of its module, which comes without the manifests that it embeds.
module hookgate.dev/tests/servers/flux

go 1.26.0

tool github.com/fluxcd/flux2/v2/cmd/flux

require github.com/fluxcd/flux2/v2 v2.7.5
