// Package review answers who somebody is and what they may do: TokenReview and
// SelfSubjectReview, and the access reviews. Nothing is stored. It must not know
// how tokens are checked or what the rules are: it asks.
package review
