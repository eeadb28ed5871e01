package volume

import (
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
)

func certificate(der string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)}))
}

func trusted(name, signer string, labels map[string]string, ders ...string) certificatesv1.ClusterTrustBundle {
	b := certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	b.Spec.SignerName = signer
	for _, der := range ders {
		b.Spec.TrustBundle += "what stands around\n" + certificate(der)
	}
	return b
}

func TestAnchors(t *testing.T) {
	m := &Manager{opts: Options{Objects: &objects{bundles: []certificatesv1.ClusterTrustBundle{
		trusted("plain", "", nil, "b", "a"),
		trusted("example.com:s:1", "example.com/s", map[string]string{"v": "1"}, "c", "a"),
		trusted("example.com:s:2", "example.com/s", map[string]string{"v": "2"}, "a", "b"),
	}}}}
	signer := ptr("example.com/s")
	for title, c := range map[string]struct {
		source      corev1.ClusterTrustBundleProjection
		want, wrong string
	}{
		"by name":         {corev1.ClusterTrustBundleProjection{Name: ptr("plain")}, "a b", ""},
		"all of a signer": {corev1.ClusterTrustBundleProjection{SignerName: signer, LabelSelector: &metav1.LabelSelector{}}, "a b c", ""},
		"selected":        {corev1.ClusterTrustBundleProjection{SignerName: signer, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"v": "1"}}}, "a c", ""},
		"without a selector": {corev1.ClusterTrustBundleProjection{SignerName: signer}, "",
			"combination of signerName and labelSelector matched zero ClusterTrustBundles"},
		"none, optional":    {corev1.ClusterTrustBundleProjection{SignerName: signer, Optional: ptr(true)}, "", ""},
		"missing":           {corev1.ClusterTrustBundleProjection{Name: ptr("x")}, "", `while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "x" not found`},
		"missing, optional": {corev1.ClusterTrustBundleProjection{Name: ptr("x"), Optional: ptr(true)}, "", ""},
		"neither":           {corev1.ClusterTrustBundleProjection{}, "", "ClusterTrustBundle projection requires either name or signerName to be set"},
	} {
		c.source.Path = "dir/ca.pem"
		got, err := m.anchors(t.Context(), &c.source, 0o640)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || !errors.Is(err, pod.ErrConfig) {
				t.Errorf("%s: %v", title, err)
			}
			continue
		}
		want := ""
		for der := range strings.FieldsSeq(c.want) {
			want += certificate(der)
		}
		if f, ok := got["dir/ca.pem"]; err != nil || !ok || string(f.data) != want || f.mode != 0o640 || len(got) != 1 {
			t.Errorf("%s: %v, %q", title, err, f.data)
		}
	}
}
