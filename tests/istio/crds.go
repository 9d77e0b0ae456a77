// Package istio pins the release of Istio whose CustomResourceDefinitions the
// integration tests install.
package istio

import _ "istio.io/istio/manifests"
