// Command demoimage writes the image that the manifests use as a docker
// archive, made from the machine's own busybox.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/carob-project/carob/internal/testimage"
)

func main() {
	out := flag.String("o", "", "file to write")
	ref := flag.String("name", testimage.DefaultName, "name of the image")
	flag.Parse()
	if err := run(*out, *ref); err != nil {
		fmt.Fprintln(os.Stderr, "demoimage:", err)
		os.Exit(1)
	}
}

func run(out, ref string) error {
	f, err := os.OpenFile(out, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := testimage.WriteTar(f, ref, testimage.Options{}); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
