package pki

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

// contextName names the cluster, the user and the context of a kubeconfig.
const contextName = "carob"

type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	CurrentContext string         `json:"current-context"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data"`
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Cert []byte `json:"client-certificate-data"`
		Key  []byte `json:"client-key-data"`
	} `json:"user"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// WriteAdminKubeconfig writes a kubeconfig of the administrator for the API at
// server, such as https://127.0.0.1:6443, with all certificates in it and mode
// 0600.
func (s *Store) WriteAdminKubeconfig(path, server string) error {
	admin, err := s.Client("admin", AdminUser, GroupMasters)
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	data, err := Kubeconfig(server, s.CA(), admin)
	if err != nil {
		return err
	}
	if err := writeFile(path, data); err != nil {
		return fmt.Errorf("pki: kubeconfig: %w", err)
	}
	return nil
}

// Kubeconfig returns a kubeconfig with everything embedded.
func Kubeconfig(server string, ca []byte, client Pair) ([]byte, error) {
	k := kubeconfig{APIVersion: "v1", Kind: "Config", CurrentContext: contextName}
	c := namedCluster{Name: contextName}
	c.Cluster.Server, c.Cluster.CA = server, ca
	u := namedUser{Name: contextName}
	u.User.Cert, u.User.Key = client.Cert, client.Key
	x := namedContext{Name: contextName}
	x.Context.Cluster, x.Context.User = contextName, contextName
	k.Clusters, k.Users, k.Contexts = []namedCluster{c}, []namedUser{u}, []namedContext{x}
	return yaml.Marshal(k)
}
