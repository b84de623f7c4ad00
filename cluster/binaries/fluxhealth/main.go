// What Flux says of objects, by its own code: kstatus, as a Kustomization with `wait` or
// `healthChecks` asks it, and the CEL of `healthCheckExprs`.
//
// Reads {"exprs": {KIND: {"inProgress": CEL, "failed": CEL, "current": CEL}}, "objects": [OBJECT]}
// and writes a list, {"kstatus": {"status", "message"}, "exprs": the same, by a kind's expressions}
// for each object.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type said struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	var asked struct {
		Exprs   map[string]kustomize.HealthCheckExpressions `json:"exprs"`
		Objects []json.RawMessage                           `json:"objects"`
	}
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	evaluators := map[string]*cel.StatusEvaluator{}
	for kind, exprs := range asked.Exprs {
		evaluator, err := cel.NewStatusEvaluator(&exprs)
		check(err)
		evaluators[kind] = evaluator
	}
	answers := []map[string]said{}
	for _, document := range asked.Objects {
		object := &unstructured.Unstructured{}
		check(object.UnmarshalJSON(document))
		answer := map[string]said{"kstatus": told(status.Compute(object))}
		if evaluator, named := evaluators[object.GetKind()]; named {
			answer["exprs"] = told(evaluator.Evaluate(context.Background(), object))
		}
		answers = append(answers, answer)
	}
	check(json.NewEncoder(os.Stdout).Encode(answers))
}

func told(result *status.Result, err error) said {
	check(err)
	return said{result.Status.String(), result.Message}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
