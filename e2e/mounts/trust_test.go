package mounts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// authority makes the certificate of one.
func authority(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func bundle(name, signer, label, certificates string) string {
	return `
---
apiVersion: certificates.k8s.io/v1
kind: ClusterTrustBundle
metadata: {name: "` + name + `", labels: {use: ` + label + `}}
spec:
` + signer + `
  trustBundle: |
    ` + strings.ReplaceAll(strings.TrimSpace(certificates), "\n", "\n    ") + "\n"
}

// trustBundles: certificates by name and by signer, each once; one that is
// missing and optional is an empty file; what is changed changes in the pod.
func trustBundles(t *testing.T, c *harness.Carob) {
	a, b := authority(t, "a"), authority(t, "b")
	const signer = "  signerName: example.com/mesh"
	c.Apply(t, bundle("anchors", "", "plain", a)+bundle("example.com:mesh:one", signer, "live", a+b)+
		bundle("example.com:mesh:two", signer, "live", b)+bundle("example.com:mesh:old", signer, "canary", authority(t, "old")))
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: trusting}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
    - name: ca
      projected:
        sources:
          - clusterTrustBundle: {name: anchors, path: one.pem}
          - clusterTrustBundle: {signerName: example.com/mesh, labelSelector: {matchLabels: {use: live}}, path: mesh/all.pem}
          - clusterTrustBundle: {signerName: example.com/mesh, labelSelector: {matchExpressions: [{key: use, operator: In, values: [canary]}]}, path: old.pem}
          - clusterTrustBundle: {name: nowhere, optional: true, path: none.pem}
  containers:
    - name: main
      image: busybox:1.35
      command: [sleep, '100000']
      volumeMounts: [{name: ca, mountPath: /ca}]
`)
	c.WaitReady(t, "trusting")
	cat := func(file string) string { return c.K(t, "exec", "trusting", "--", "cat", "/ca/"+file) }
	if got := cat("one.pem"); strings.TrimSpace(got) != strings.TrimSpace(a) {
		t.Errorf("by name:\n%s", got)
	}
	all := cat("mesh/all.pem")
	if strings.Count(all, "BEGIN CERTIFICATE") != 2 || !strings.Contains(all, strings.TrimSpace(a)) || !strings.Contains(all, strings.TrimSpace(b)) {
		t.Errorf("by signer:\n%s", all)
	}
	if n := strings.Count(cat("old.pem"), "BEGIN CERTIFICATE"); n != 1 || strings.TrimSpace(cat("none.pem")) != "" {
		t.Errorf("%d old, and none: %q", n, cat("none.pem"))
	}
	c.Apply(t, bundle("anchors", "", "plain", b))
	c.K(t, "annotate", "pod", "trusting", "look=again") // else within a minute
	harness.Eventually(t, 90*time.Second, func() string {
		if got := cat("one.pem"); strings.TrimSpace(got) != strings.TrimSpace(b) {
			return "still " + got
		}
		return ""
	})
	c.Apply(t, strings.Replace(pod("untrusting", "true", "  volumes: [{name: ca, projected: {sources: [{clusterTrustBundle: {name: nowhere, path: a}}]}}]"),
		"      image:", "      volumeMounts: [{name: ca, mountPath: /ca}]\n      image:", 1))
	event(t, c, "untrusting", "FailedMount", `MountVolume.SetUp failed for volume "ca" : while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "nowhere" not found`)
	out, err := c.KubectlInput(bundle("bad", "", "x", "nothing"), "apply", "-f", "-")
	if err == nil || !strings.Contains(out, `spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided`) {
		t.Errorf("%v: %s", err, out)
	}
}
