package main

import (
	"context"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/config"
	"github.com/carob-project/carob/pkg/localvolume"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/volume"
)

// newVolumes returns the volumes of this machine. client and what is behind it
// may be nil where they are only removed.
func newVolumes(c config.Config, client kubernetes.Interface, images volume.Images, users func(types.UID) (pod.IDRange, error), allocatable func() corev1.ResourceList, log *zap.Logger) (*volume.Manager, error) {
	return volume.New(volume.Options{
		PodsDir: c.PodsDir(), MemoryDir: filepath.Join(c.RunDir, "memory"), Objects: objects{client}, Tokens: tokens{client}, Images: images, Users: users, Allocatable: allocatable,
		MakeLocal:     localvolume.Dirs{Root: c.VolumesDir()}.Make,
		ClusterDomain: pod.ClusterDomain, Log: log.Named("volume"),
	})
}

// objects reads what volumes are made of from the API.
type objects struct{ client kubernetes.Interface }

// ConfigMap implements volume.Objects.
func (o objects) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return o.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Secret implements volume.Objects.
func (o objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return o.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Claim implements volume.Objects.
func (o objects) Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return o.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Volume implements volume.Objects.
func (o objects) Volume(ctx context.Context, name string) (*corev1.PersistentVolume, error) {
	return o.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
}

// TrustBundle implements volume.Objects.
func (o objects) TrustBundle(ctx context.Context, name string) (*certificatesv1.ClusterTrustBundle, error) {
	return o.client.CertificatesV1().ClusterTrustBundles().Get(ctx, name, metav1.GetOptions{})
}

// TrustBundles implements volume.Objects.
func (o objects) TrustBundles(ctx context.Context, signer string, s labels.Selector) ([]certificatesv1.ClusterTrustBundle, error) {
	if s.String() == labels.Nothing().String() && !s.Empty() {
		return nil, nil
	}
	list, err := o.client.CertificatesV1().ClusterTrustBundles().List(ctx, metav1.ListOptions{
		LabelSelector: s.String(), FieldSelector: fields.OneTermEqualSelector("spec.signerName", signer).String(),
	})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// tokens has the API make the tokens of pods, and reads whose they are.
type tokens struct{ client kubernetes.Interface }

// Account implements credentialprovider.Accounts.
func (t tokens) Account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return t.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Token implements volume.Tokens and credentialprovider.Accounts.
func (t tokens) Token(ctx context.Context, p *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	made, err := t.client.CoreV1().ServiceAccounts(p.Namespace).CreateToken(ctx, p.Spec.ServiceAccountName, req, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, err
	}
	return made.Status.Token, made.Status.ExpirationTimestamp.Time, nil
}

// volumeParts gives the agent what it asks of volumes beside pod.Volumes.
type volumeParts struct{ *volume.Manager }

// List implements agent.VolumeView.
func (v volumeParts) List() ([]types.UID, error) { return v.UIDs() }

// TerminationMessage implements agent.Messages.
func (v volumeParts) TerminationMessage(_ context.Context, k agent.LogKey) (string, error) {
	return v.ReadTerminationMessage(k.Pod.UID, k.Container, k.Number, corev1.TerminationMessageReadFile, false, nil)
}
