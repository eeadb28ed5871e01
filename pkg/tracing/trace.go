package tracing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Path is where the API server answers with a Trace: Path, namespace, slash,
// name, and optionally ?uid= for an earlier pod of that name.
const Path = "/carob.dev/v1/traces/"

// Trace is what is kept of a pod, for `carob trace`.
type Trace struct {
	TraceID   string    `json:"traceID"`
	UID       types.UID `json:"uid"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	// Now is when this was written, on the clock of the spans.
	Now time.Time `json:"now"`
	// Spans are in the order in which they began.
	Spans []Span `json:"spans"`
	// Dropped is how many spans are not kept any more.
	Dropped int `json:"dropped,omitempty"`
	// Others are further pods of that name that are kept, the newest first.
	Others []types.UID `json:"others,omitempty"`
}

// Span is a span of a Trace.
type Span struct {
	ID     string `json:"spanID"`
	Parent string `json:"parentID,omitempty"`
	// Stage is that of an outermost span.
	Stage Stage     `json:"stage,omitempty"`
	Name  string    `json:"name"`
	Begin time.Time `json:"begin"`
	// Took is in nanoseconds; 0 while it is open.
	Took       time.Duration     `json:"tookNanoseconds"`
	Open       bool              `json:"open,omitempty"`
	Error      string            `json:"error,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Find returns what is kept of the pod of that name: of the newest one, or of
// the one with that UID.
func (t *Tracer) Find(namespace, name string, uid types.UID) (Trace, bool) {
	if t == nil {
		return Trace{}, false
	}
	r := t.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*podTrace
	for e := r.order.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*podTrace); p.pod.Namespace == namespace && p.pod.Name == name {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *podTrace) int { return cmp.Compare(b.number, a.number) })
	i := slices.IndexFunc(found, func(p *podTrace) bool { return uid == "" || p.pod.UID == uid })
	if i < 0 {
		return Trace{}, false
	}
	out := found[i].export(time.Now())
	for _, p := range found {
		if p != found[i] {
			out.Others = append(out.Others, p.pod.UID)
		}
	}
	return out, true
}

func (p *podTrace) export(now time.Time) Trace {
	out := Trace{
		TraceID: p.id.String(), UID: p.pod.UID, Namespace: p.pod.Namespace, Name: p.pod.Name,
		Now: now.UTC(), Dropped: p.dropped, Spans: make([]Span, 0, len(p.records)),
	}
	for _, rec := range p.records {
		s := Span{
			ID: rec.id.String(), Stage: rec.stage, Name: rec.name, Begin: rec.begin.UTC(), Took: rec.took, Open: rec.open, Error: rec.err,
		}
		if rec.parent.IsValid() {
			s.Parent = rec.parent.String()
		}
		for _, a := range rec.attrs {
			if s.Attributes == nil {
				s.Attributes = make(map[string]string, len(rec.attrs))
			}
			s.Attributes[a.key] = a.value
		}
		out.Spans = append(out.Spans, s)
	}
	slices.SortStableFunc(out.Spans, func(a, b Span) int { return a.Begin.Compare(b.Begin) })
	return out
}

// ServeHTTP answers GET requests below Path with a Trace. Who may ask is the
// caller's to decide.
func (t *Tracer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		namespace, name, uid := r.PathValue("namespace"), r.PathValue("name"), types.UID(r.URL.Query().Get("uid"))
		found, ok := t.Find(namespace, name, uid)
		if !ok {
			http.Error(w, unknown(namespace, name, uid), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(found) // the client has gone if it fails
	})
	mux.ServeHTTP(w, r)
}

func unknown(namespace, name string, uid types.UID) string {
	which := fmt.Sprintf("pod %q in namespace %q", name, namespace)
	if uid != "" {
		which += fmt.Sprintf(" with the UID %q", uid)
	}
	return "no trace of " + which + ": traces are kept of the last pods since carob was started"
}
