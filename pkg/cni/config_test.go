package cni

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindConfTakesFirst(t *testing.T) {
	dir := t.TempDir()
	if got, err := findConf(filepath.Join(dir, "missing")); got != "" || err != nil {
		t.Errorf("no directory: %q, %v", got, err)
	}
	for _, name := range []string{"00-readme.txt", "20-b.conflist", "10-a.conf", ".10.conflist.swp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "05-dir.conflist"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := findConf(dir); filepath.Base(got) != "10-a.conf" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDecodeConf(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		types []string
		wrong string
	}{
		"list":          {text: `{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"a"},{"type":"b"}]}`, types: []string{"a", "b"}},
		"single":        {text: `{"name":"n","type":"a"}`, types: []string{"a"}},
		"empty":         {text: ``, wrong: "not valid JSON"},
		"no object":     {text: `[]`, wrong: "not valid JSON"},
		"null":          {text: `null`, wrong: "no name"},
		"no name":       {text: `{"plugins":[{"type":"a"}]}`, wrong: "no name"},
		"bad name":      {text: `{"name":"../x","plugins":[{"type":"a"}]}`, wrong: "invalid name"},
		"no plugins":    {text: `{"name":"n","plugins":[]}`, wrong: "no plugins"},
		"no type":       {text: `{"name":"n","plugins":[{}]}`, wrong: "type"},
		"null plugin":   {text: `{"name":"n","plugins":[null]}`, wrong: "type"},
		"path":          {text: `{"name":"n","plugins":[{"type":"../../bin/sh"}]}`, wrong: "invalid type"},
		"version":       {text: `{"name":"n","cniVersion":"9.0","plugins":[{"type":"a"}]}`, wrong: "cniVersion"},
		"single, wrong": {text: `{"type":"a"}`, wrong: "name"},
	} {
		list, err := decodeConf([]byte(tc.text))
		if tc.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("%s: error %v, want %q", name, err, tc.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var types []string
		for _, p := range list.Plugins {
			types = append(types, p.Network.Type)
		}
		if diff := cmp.Diff(tc.types, types); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func FuzzDecodeConf(f *testing.F) {
	f.Add([]byte(`{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"a","capabilities":{"portMappings":true}}]}`))
	f.Add([]byte(`{"name":"n","cniVersions":["0.4.0","1.0.0"],"type":"a"}`))
	f.Add([]byte(`{"name":"n","plugins":[null],"disableCheck":"true"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := decodeConf(data)
		if err != nil {
			return
		}
		flat, err := flatten(list)
		if err != nil {
			t.Fatalf("flatten: %v", err)
		}
		again, err := decodeConf(flat)
		if len(list.Plugins) == 0 {
			return // refused by loadConf
		}
		if err != nil || again.Name != list.Name || len(again.Plugins) != len(list.Plugins) {
			t.Fatalf("flattened %s: %v", flat, err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	list, err := ownConf("carob-1", "/run/ipam", netip.MustParsePrefix("10.1.0.0/24"))
	if err != nil {
		f.Fatal(err)
	}
	config, err := flatten(list)
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(&record{
		ID: "a", NetNS: "/n", IfName: "eth0", Network: "carob-1", Config: config, Own: true, Attached: true,
		Ports: []PortMapping{{Protocol: "tcp", HostPort: 1, ContainerPort: 2}}, IPs: []netip.Addr{netip.MustParseAddr("10.1.0.2")},
	})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := decodeRecord(good); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		// What follows a read must not fail on any decoded record.
		for _, m := range r.mappings() {
			_ = m.Validate()
		}
		_, _ = r.keys(), r.runtimeConf()
	})
}
