package budget

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/carob-project/carob/e2e/harness"
)

// calls reads how many calls of each method a containerd has got, from its own
// metrics.
func calls(t *testing.T, address string) counts {
	t.Helper()
	resp, err := http.Get("http://" + address + "/v1/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	all := counts{}
	for line := range strings.Lines(string(text)) {
		labels, ok := strings.CutPrefix(line, "grpc_server_started_total{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(labels, "} ")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		service := label(labels, "grpc_service")
		all[strings.ToLower(service[strings.LastIndexByte(service, '.')+1:])+"."+label(labels, "grpc_method")] += int(n)
	}
	if len(all) == 0 {
		t.Fatalf("containerd's metrics tell of no calls:\n%s", text)
	}
	return all
}

func label(labels, name string) string {
	_, value, _ := strings.Cut(labels, name+`="`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

// store is a client of the instance's etcd.
func store(t *testing.T, c *harness.Carob) *clientv3.Client {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{"unix://" + filepath.Join(c.DataDir, "etcd", "etcd.sock")},
		DialTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	return cli
}

func revision(t *testing.T, cli *clientv3.Client) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resp, err := cli.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// writes returns what was written to the store after one revision and up to
// another, by the kind of object: those that carry the pod's name. The
// node's heartbeat goes on meanwhile and is none of its.
func writes(t *testing.T, cli *clientv3.Client, from, to int64, pod string) counts {
	t.Helper()
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(t.Context()), 20*time.Second)
	defer cancel()
	all := counts{}
	if from == to {
		return all
	}
	for resp := range cli.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(from+1), clientv3.WithProgressNotify()) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.Events {
			if e.Kv.ModRevision > to {
				return all
			}
			// /registry/<kind>/<namespace>/<name>
			parts := strings.Split(string(e.Kv.Key), "/")
			if name := parts[len(parts)-1]; strings.HasPrefix(name, pod) && len(parts) > 3 {
				all[parts[len(parts)-3]]++
			}
			if e.Kv.ModRevision == to {
				return all
			}
		}
	}
	t.Fatalf("the store did not tell all of what was written: %v", ctx.Err())
	return nil
}
