// Command guest runs inside a test VM: it runs the shell scripts that come
// through the virtio serial port and sends back how they ended. It must not
// know what is tested.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// request and reply are one line of JSON each; e2e/vm has their other end.
type request struct {
	ID     int    `json:"id"`
	Script string `json:"script"`
	// Seconds bounds the script.
	Seconds int `json:"seconds"`
}

type reply struct {
	ID   int    `json:"id"`
	Code int    `json:"code"`
	Out  string `json:"out"`
	// Boot is the kernel's boot ID; set in the first line of a boot only.
	Boot string `json:"boot,omitempty"`
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		// init starts it again at once otherwise.
		time.Sleep(time.Second)
		os.Exit(1)
	}
}

func serve() error {
	ports, _ := filepath.Glob("/dev/vport*")
	if len(ports) == 0 {
		return errors.New("no virtio serial port")
	}
	port, err := os.OpenFile(ports[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = port.Close() }()
	var mu sync.Mutex
	send := func(r reply) {
		line, _ := json.Marshal(r) // strings and numbers only
		mu.Lock()
		defer mu.Unlock()
		_, _ = port.Write(append(line, '\n')) // a host that is gone needs no answer
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	send(reply{Boot: strings.TrimSpace(string(boot))})
	s := bufio.NewScanner(port)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var r request
		if json.Unmarshal(s.Bytes(), &r) != nil {
			continue // the rest of a line from before the boot
		}
		go func() { send(run(r)) }()
	}
	return s.Err()
}

func run(r request) reply {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "-c", r.Script)
	cmd.Env = []string{"PATH=/usr/bin:/usr/sbin:/bin:/sbin", "HOME=/root", "LC_ALL=C"}
	cmd.Dir = "/root"
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		return reply{ID: r.ID, Code: -1, Out: err.Error()}
	}
	if ctx.Err() != nil {
		fmt.Fprintf(&out, "\nnot ended after %d s\n", r.Seconds)
	}
	return reply{ID: r.ID, Code: cmd.ProcessState.ExitCode(), Out: out.String()}
}
