// Package credentialprovider runs the plugins that give credentials for
// registries, as the kubelet does: it reads their CredentialProviderConfig,
// chooses the plugins that an image is for, has them answer a
// CredentialProviderRequest, and keeps the answers for as long as they say. It
// must not know how images are pulled, and never logs what a plugin answers.
package credentialprovider
