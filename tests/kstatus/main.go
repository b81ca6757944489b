// Reads objects, one as JSON on each line, and prints what GitOps tools make of each, as JSON on one line: the word and the message of
// kstatus, and those of a health check in Lua (its file is the only argument) as Argo CD runs it. Whatever it cannot read or judge ends
// it: a check that lost a line would say less than it seems to.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A status may carry a recorded decision.
const longestLine = 1 << 20

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type verdicts struct {
	Kstatus verdict `json:"kstatus"`
	Argo    verdict `json:"argo"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("wanted is one argument, the file of a health check: got %d", len(arguments))
	}
	script, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for n := 1; lines.Scan(); n++ {
		said, err := judge(lines.Bytes(), string(script))
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := encoder.Encode(said); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return out.Flush()
}

func judge(line []byte, script string) (*verdicts, error) {
	// Its own decoder: another one makes floating point numbers of whole ones, which kstatus refuses.
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(line); err != nil {
		return nil, err
	}
	result, err := status.Compute(&object)
	if err != nil {
		return nil, err
	}
	health, err := healthOf(line, script)
	if err != nil {
		return nil, err
	}
	return &verdicts{Kstatus: verdict{result.Status.String(), result.Message}, Argo: *health}, nil
}
