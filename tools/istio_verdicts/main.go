//go:build ignore

// Judges objects with Istio's own validators: one JSON object a line in, one verdict a line out.
// Built inside Istio's module by tools/istio_verdicts, because the validators are not a module of their own.
package main

import (
	"bufio"
	"encoding/json"
	"os"

	"github.com/hashicorp/go-multierror"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
)

type verdict struct {
	Undecoded string   `json:"undecoded,omitempty"`
	Error     string   `json:"error,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

func judge(line []byte) (found verdict) {
	var obj crd.IstioKind
	if err := json.Unmarshal(line, &obj); err != nil {
		return verdict{Undecoded: err.Error()}
	}
	kind := obj.GroupVersionKind()
	schema, known := collections.Pilot.FindByGroupKind(resource.FromKubernetesGVK(&kind))
	if !known {
		return verdict{Undecoded: "unknown kind " + kind.String()}
	}
	config, err := crd.ConvertObject(schema, &obj, "cluster.local")
	if err != nil {
		return verdict{Undecoded: err.Error()}
	}
	warnings, err := schema.ValidateConfig(*config)
	if err != nil {
		found.Error = err.Error()
	}
	if several, ok := warnings.(*multierror.Error); ok {
		for _, one := range several.Errors {
			found.Warnings = append(found.Warnings, one.Error())
		}
	} else if warnings != nil {
		found.Warnings = []string{warnings.Error()}
	}
	return found
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for in.Scan() {
		_ = out.Encode(judge(in.Bytes()))
	}
}
