package pod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/identity"
)

// What a pod's containers find their identity in.
const (
	tokenMountPath    = "/var/run/secrets/kubernetes.io/serviceaccount" //nolint:gosec // a path, not a secret
	tokenVolumePrefix = "kube-api-access-"
	// RootCAConfigMap is in every namespace, and tells pods whose certificates
	// the API has.
	RootCAConfigMap = "kube-root-ca.crt"
)

// NameServiceAccount gives the pod a service account, unless it names one.
func NameServiceAccount(s *corev1.PodSpec) {
	mirrorServiceAccount(s)
	setDefault(&s.ServiceAccountName, DefaultServiceAccount)
	mirrorServiceAccount(s)
}

// ApplyServiceAccount adds to a new pod what follows from its service account:
// the secrets for registries, and the volume with its token in each container
// that has nothing else there. generate makes a name that begins as given.
func ApplyServiceAccount(s *corev1.PodSpec, account *corev1.ServiceAccount, generate func(string) string) {
	if wantsToken(s, account) {
		mountToken(s, generate)
	}
	if len(s.ImagePullSecrets) == 0 {
		s.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
}

// wantsToken: what the pod says goes before what its service account says.
func wantsToken(s *corev1.PodSpec, account *corev1.ServiceAccount) bool {
	if s.AutomountServiceAccountToken != nil {
		return *s.AutomountServiceAccountToken
	}
	return ptr.Deref(account.AutomountServiceAccountToken, true)
}

func mountToken(s *corev1.PodSpec, generate func(string) string) {
	i := slices.IndexFunc(s.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, tokenVolumePrefix) })
	var name string
	if i >= 0 {
		name = s.Volumes[i].Name
	} else {
		name = generate(tokenVolumePrefix)
	}
	mount := corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath}
	used := false
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for j := range list {
			c := &list[j]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenMountPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, mount)
			used = true
		}
	}
	if used && i < 0 {
		s.Volumes = append(s.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenVolume()}})
	}
}

// tokenVolume is what every pod gets: its token, whom to trust, and where it is.
func tokenVolume() *corev1.ProjectedVolumeSource {
	return &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To(fileMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Path: "token", ExpirationSeconds: ptr.To[int64](identity.InjectedSeconds),
			}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: RootCAConfigMap},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{
				Items: []corev1.DownwardAPIVolumeFile{{
					Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
				}},
			}},
		},
	}
}

// OnlyMountable refuses a pod that refers to a secret which its service account
// does not list, in the words of Kubernetes.
func OnlyMountable(s *corev1.PodSpec, account *corev1.ServiceAccount) error {
	lists := func(name string) bool {
		return slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == name })
	}
	for _, v := range s.Volumes {
		if v.Secret != nil && !lists(v.Secret.SecretName) {
			return fmt.Errorf("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret",
				v.Secret.SecretName, account.Name)
		}
	}
	for i := range s.InitContainers {
		if err := onlyMountableEnv("init container", &s.InitContainers[i], account.Name, lists); err != nil {
			return err
		}
	}
	for i := range s.Containers {
		if err := onlyMountableEnv("container", &s.Containers[i], account.Name, lists); err != nil {
			return err
		}
	}
	for i, ref := range s.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, ref) {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret",
				i, ref.Name, account.Name)
		}
	}
	return nil
}

func onlyMountableEnv(word string, c *corev1.Container, account string, lists func(string) bool) error {
	for _, e := range c.Env {
		if from := e.ValueFrom; from != nil && from.SecretKeyRef != nil && !lists(from.SecretKeyRef.Name) {
			return fmt.Errorf("%s %s with envVar %s referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
				word, c.Name, e.Name, from.SecretKeyRef.Name, account)
		}
	}
	for _, f := range c.EnvFrom {
		if f.SecretRef != nil && !lists(f.SecretRef.Name) {
			return fmt.Errorf("%s %s with envFrom referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
				word, c.Name, f.SecretRef.Name, account)
		}
	}
	return nil
}
