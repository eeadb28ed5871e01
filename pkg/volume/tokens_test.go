package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// mint makes tokens that are numbered.
type mint struct {
	made int
	now  func() time.Time
	err  error
}

func (m *mint) Token(_ context.Context, p *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	if m.err != nil {
		return "", time.Time{}, m.err
	}
	m.made++
	return fmt.Sprintf("%s/%s/%d", p.Name, audience, m.made), m.now().Add(time.Duration(seconds) * time.Second), nil
}

func tokenPod(audience string, seconds int64) *corev1.Pod {
	p := testPod()
	p.Spec.Volumes = []corev1.Volume{{Name: "id", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Path: "deep/token", Audience: audience, ExpirationSeconds: &seconds,
		}}},
	}}}}
	return p
}

// withTokens gives the bench a mint and a clock that the test moves.
func (b *bench) withTokens() (m *mint, clock *time.Time) {
	at := time.Unix(1_800_000_000, 0)
	m = &mint{now: func() time.Time { return at }}
	b.m.opts.Tokens, b.m.opts.Now = m, m.now
	return m, &at
}

func TestTokensAreRenewedInTime(t *testing.T) {
	b := newBench(t)
	m, at := b.withTokens()
	p := tokenPod("vault", 1000)
	read := func() string {
		t.Helper()
		if err := b.m.Prepare(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(b.dir, "pods", string(p.UID), "volumes", "id", "deep", "token"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for after, want := range []string{0: "1", 1: "1", 2: "1", 3: "1", 4: "2", 5: "2"} {
		_ = after
		if got := read(); !strings.HasSuffix(got, "/vault/"+want) {
			t.Errorf("at %s: %s, want %s", at.Sub(time.Unix(1_800_000_000, 0)), got, want)
		}
		*at = at.Add(200 * time.Second)
	}
	m.err = errors.New("no API")
	if got := read(); !strings.HasSuffix(got, "/2") {
		t.Errorf("without the API: %s", got)
	}
	*at = at.Add(time.Hour)
	if err := b.m.Prepare(t.Context(), p); !errors.Is(err, m.err) {
		t.Errorf("with an expired token: %v", err)
	}
	if err := b.m.Remove(t.Context(), p.UID); err != nil {
		t.Fatal(err)
	}
	if len(b.m.tokens.held) != 0 {
		t.Error("the token of a pod that is gone is kept")
	}
}

func TestLongLivedTokensAreRenewedDaily(t *testing.T) {
	now := time.Now()
	held := heldToken{expires: now.Add(30 * 24 * time.Hour)}
	const seconds = 30 * 24 * 60 * 60
	if held.due(seconds, now.Add(23*time.Hour)) || !held.due(seconds, now.Add(24*time.Hour)) {
		t.Error("not after a day")
	}
}

func TestWhoseATokenIs(t *testing.T) {
	user, group := int64(1001), int64(2002)
	for name, c := range map[string]struct {
		user, group *int64
		mode        os.FileMode
		uid, gid    uint32
	}{
		"nobody's":   {nil, nil, 0o644, 0, 0},
		"a user's":   {&user, nil, 0o600, 1001, 0},
		"a group's":  {nil, &group, 0o640, 0, 2002},
		"one's both": {&user, &group, 0o640, 1001, 2002},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.withTokens()
			p := tokenPod("", 600)
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: c.user, FSGroup: c.group}
			for range 2 {
				if err := b.m.Prepare(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			info, err := os.Stat(filepath.Join(b.dir, "pods", string(p.UID), "volumes", "id", "deep", "token"))
			if err != nil {
				t.Fatal(err)
			}
			st := info.Sys().(*syscall.Stat_t)
			if info.Mode().Perm() != c.mode || st.Uid != c.uid || st.Gid != c.gid {
				t.Errorf("%o %d:%d", info.Mode().Perm(), st.Uid, st.Gid)
			}
		})
	}
}
