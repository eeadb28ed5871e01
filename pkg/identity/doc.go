// Package identity signs and reads the tokens by which pods prove who they are:
// JSON web tokens with the claims that Kubernetes puts into those of service
// accounts. It must not know whether what a token names still exists, nor who is
// allowed to have one.
package identity
