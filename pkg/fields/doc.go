// Package fields says which fields of an API object carob honours.
//
// One table a kind is the single source of two things: the refusal of what is
// not honoured, and the page docs/fields.md. A test walks the Go types, so a
// field that is new in the API has to be decided upon before the build is
// green again. The package knows API types only; it must not know how a field
// is carried out, nor the API server.
package fields
