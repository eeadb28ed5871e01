package ctrd

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

// Exit codes that no process chose.
const (
	codeLost       = 137
	codeKilled     = 137
	codeStartError = 128
)

// maxErrorText keeps an exit record within containerd's limit of 4096 bytes
// for a label.
const maxErrorText = 2048

// exitRecord is the JSON form of an exit in the container's labels.
type exitRecord struct {
	Code       int       `json:"code"`
	Signal     int       `json:"signal,omitempty"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt"`
	OOM        bool      `json:"oom,omitempty"`
	Lost       bool      `json:"lost,omitempty"`
	// Unstarted: the image's process never began; see neverRan.
	Unstarted  bool   `json:"unstarted,omitempty"`
	StartError string `json:"startError,omitempty"`
}

func (e exitRecord) encode() (string, error) {
	e.StartError = cutText(e.StartError, maxErrorText)
	data, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("exit record: %w", err)
	}
	return string(data), nil
}

// decodeExit reads an exit record. One that cannot be read still says that the
// attempt has ended, and counts as lost.
func decodeExit(s string, fallback time.Time) exitRecord {
	var e exitRecord
	if err := json.Unmarshal([]byte(s), &e); err != nil {
		return exitRecord{Code: codeLost, Lost: true, FinishedAt: fallback}
	}
	return e
}

func (e exitRecord) exit() *pod.Exit {
	return &pod.Exit{
		Code:       e.Code,
		Signal:     e.Signal,
		FinishedAt: e.FinishedAt,
		OOMKilled:  e.OOM,
		Lost:       e.Lost,
		StartError: e.StartError,
	}
}

// cutText shortens s to at most n bytes of valid UTF-8; JSON escapes may make
// it longer again, for which maxErrorText leaves room.
func cutText(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
