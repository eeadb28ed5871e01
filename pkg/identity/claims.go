package identity

import (
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// How long tokens are good for.
const (
	// InjectedSeconds is asked for the token that every pod gets. Programs
	// exist that read their token once: one of exactly this age is only
	// suspicious after that time, and refused after ExtendedSeconds.
	InjectedSeconds = 60*60 + 7
	ExtendedSeconds = 365 * 24 * 60 * 60
	// leeway is how far two clocks may be apart.
	leeway = time.Minute
)

// The reasons to refuse a token by itself, in the words of Kubernetes.
var (
	ErrExpired     = errors.New("service account token has expired")
	ErrNotYetValid = errors.New("service account token is not valid yet")
	ErrFuture      = errors.New("service account token is issued in the future")
)

// Ref names one object, and no other that gets the same name later.
type Ref struct {
	Name string    `json:"name,omitempty"`
	UID  types.UID `json:"uid,omitempty"`
}

// Bound are the objects with which a token dies. At most one of them may be set,
// but a pod's token also tells the pod's node.
type Bound struct {
	Pod    *corev1.Pod
	Secret *corev1.Secret
	Node   *corev1.Node
}

// Claims are what a token says.
type Claims struct {
	jwt.Claims
	Private Private
}

// Private are the claims that Kubernetes adds.
type Private struct {
	Namespace      string           `json:"namespace,omitempty"`
	Node           *Ref             `json:"node,omitempty"`
	Pod            *Ref             `json:"pod,omitempty"`
	Secret         *Ref             `json:"secret,omitempty"`
	ServiceAccount Ref              `json:"serviceaccount,omitzero"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

// New returns the claims of a new token that is good for the given seconds. If
// warn is not 0, its use is suspicious after so many seconds.
func New(subject string, account *corev1.ServiceAccount, bound Bound, audiences []string, seconds, warn int64, now time.Time) Claims {
	c := Claims{
		Claims: jwt.Claims{
			Subject: subject, Audience: audiences, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
			Expiry: jwt.NewNumericDate(now.Add(time.Duration(seconds) * time.Second)),
		},
		Private: Private{Namespace: account.Namespace, ServiceAccount: Ref{account.Name, account.UID}},
	}
	if p := bound.Pod; p != nil {
		c.Private.Pod = &Ref{p.Name, p.UID}
	}
	if s := bound.Secret; s != nil {
		c.Private.Secret = &Ref{s.Name, s.UID}
	}
	if n := bound.Node; n != nil {
		c.Private.Node = &Ref{n.Name, n.UID}
	}
	if warn != 0 {
		c.Private.WarnAfter = jwt.NewNumericDate(now.Add(time.Duration(warn) * time.Second))
	}
	return c
}

// Check says whether the token is good at the given time.
func (c Claims) Check(now time.Time) error {
	err := c.ValidateWithLeeway(jwt.Expected{Time: now}, leeway)
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrNotValidYet):
		return ErrNotYetValid
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return ErrFuture
	}
	return err
}

// Outdated says whether an object, deleted at that time, has taken its tokens
// with it. One that is on its way out keeps them for as long as it was given to
// end.
func Outdated(deleted, now time.Time) bool {
	return !deleted.IsZero() && deleted.Before(now.Add(-leeway))
}
