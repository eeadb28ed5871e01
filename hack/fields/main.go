// Command fields writes docs/fields.md, the page that says which fields of a
// Pod carob honours, from the table in pkg/fields.
package main

import (
	"fmt"
	"os"

	"github.com/carob-project/carob/pkg/fields"
)

func main() {
	if err := fields.Pod().WriteMarkdown(os.Stdout, "Pod", fields.PodLeaves()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
