// Package istio keeps Istio's CustomResourceDefinitions among what this module
// requires; the integration tests install them.
package istio

import _ "istio.io/istio/manifests"
