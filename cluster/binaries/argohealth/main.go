// What Argo CD says of objects, by its own code: the health that its application controller asks
// for, with health checks in Lua as `argocd-cm` holds them.
//
// Reads {"lua": {"GROUP/KIND": SCRIPT}, "objects": [OBJECT]} and writes a list, {"status",
// "message"} for each object; without a check for its kind there is no status.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	argo "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	var asked struct {
		Lua     map[string]string `json:"lua"`
		Objects []json.RawMessage `json:"objects"`
	}
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	checks := lua.ResourceHealthOverrides{}
	for kind, script := range asked.Lua {
		checks[kind] = argo.ResourceOverride{HealthLua: script}
	}
	answers := []health.HealthStatus{}
	for _, document := range asked.Objects {
		object := &unstructured.Unstructured{}
		check(object.UnmarshalJSON(document))
		said, err := health.GetResourceHealth(object, checks)
		check(err)
		if said == nil {
			said = &health.HealthStatus{}
		}
		answers = append(answers, *said)
	}
	check(json.NewEncoder(os.Stdout).Encode(answers))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
