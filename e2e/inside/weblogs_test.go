package inside

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/carob-project/carob/e2e/harness"
)

// logsOverWebSocket follows a log as a page in a browser does, in both forms
// that Kubernetes has for it.
func logsOverWebSocket(t *testing.T, c *harness.Carob) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.DataDir, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"binary.k8s.io", "base64.binary.k8s.io"} {
		d := websocket.Dialer{TLSClientConfig: tls, Subprotocols: []string{protocol}, HandshakeTimeout: 10 * time.Second}
		conn, r, err := d.Dial("wss://"+c.Listen+"/api/v1/namespaces/default/pods/talk/log?follow=true&tailLines=1", nil)
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		_ = r.Body.Close()
		if got := conn.Subprotocol(); got != protocol {
			t.Errorf("asked for %s, got %q", protocol, got)
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		var text strings.Builder
		for strings.Count(text.String(), "\n") < 6 {
			_, data, err := conn.ReadMessage()
			if err == nil && strings.HasPrefix(protocol, "base64") {
				data, err = base64.StdEncoding.DecodeString(string(data))
			}
			if err != nil {
				t.Fatalf("%s: %v after %q", protocol, err, text.String())
			}
			text.Write(data)
		}
		if s := text.String(); !strings.Contains(s, "tick\n") || !strings.Contains(s, "tock\n") {
			t.Errorf("%s: %q", protocol, s)
		}
		_ = conn.Close()
	}
}
