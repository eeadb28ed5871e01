// Package server is what a node serves to the API server: the logs of its
// containers, ways into them, and whether it is alive. It answers on a socket
// that only its owner may open, so that the API server's checks are the only
// way in. It must not know how logs are stored or how pods are run.
package server
