package folder

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
)

// The record of a set is a ConfigMap, in the conventions of apply sets: it
// names all kinds that the set may have members of.
const (
	RecordNamespace = metav1.NamespaceSystem
	// RecordName is that of the folder of `carob up`.
	RecordName = "carob-manifests"

	labelID          = "applyset.kubernetes.io/id"
	annotationTool   = "applyset.kubernetes.io/tooling"
	annotationKinds  = "applyset.kubernetes.io/contains-group-kinds"
	annotationFolder = "carob.dev/folder"
	reportKey        = "report.json"
	// maxReport leaves room in what an object may have.
	maxReport = 900 << 10
)

// SetID names the set of a record, as the conventions say.
func SetID(name string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{name, RecordNamespace, "ConfigMap", ""}, ".")))
	return "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
}

// Report is what `carob manifests` shows of a set.
type Report struct {
	// Set is the name of the record.
	Set    string `json:"set"`
	Folder string `json:"folder"`
	Rows   []Row  `json:"objects"`
	// Omitted are rows without an error that had no room.
	Omitted int `json:"omitted,omitempty"`
}

// Failed says whether anything is not as the folder says.
func (r Report) Failed() bool {
	return slices.ContainsFunc(r.Rows, func(r Row) bool { return r.Error != "" || r.State == Held })
}

// Reports returns those of all sets, by name.
func Reports(ctx context.Context, c kubernetes.Interface) ([]Report, error) {
	list, err := c.CoreV1().ConfigMaps(RecordNamespace).List(ctx, metav1.ListOptions{LabelSelector: labelID})
	if err != nil {
		return nil, err
	}
	var out []Report
	for i := range list.Items {
		m := &list.Items[i]
		if m.Annotations[annotationFolder] == "" {
			continue // another tool's
		}
		r := Report{Set: m.Name, Folder: m.Annotations[annotationFolder]}
		if text := m.Data[reportKey]; text != "" {
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				return nil, fmt.Errorf("ConfigMap %s: %w", m.Name, err)
			}
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Report) int { return strings.Compare(a.Set, b.Set) })
	return out, nil
}

// nameFor chooses the record of a folder: the one that it has already, else a
// name of its own. The folder of `carob up` may move.
func nameFor(reports []Report, dir string, up bool) string {
	for _, r := range reports {
		if r.Folder == dir {
			return r.Set
		}
	}
	if up {
		return RecordName
	}
	return RecordName + "-" + digest([]byte(dir))[:8]
}

// record is a set's, as it was read or written last.
type record struct {
	client     kubernetes.Interface
	name, dir  string
	tool       string
	is         *corev1.ConfigMap
	groupKinds map[schema.GroupKind]bool
}

// open reads the record; found is false where there is none.
func (r *record) open(ctx context.Context) (found bool, err error) {
	is, err := r.client.CoreV1().ConfigMaps(RecordNamespace).Get(ctx, r.name, metav1.GetOptions{})
	r.groupKinds = map[schema.GroupKind]bool{}
	if apierrors.IsNotFound(err) {
		r.is = nil
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("record of the folder: %w", err)
	}
	r.is = is
	_, found = is.Annotations[annotationKinds]
	for text := range strings.SplitSeq(is.Annotations[annotationKinds], ",") {
		if text != "" {
			r.groupKinds[schema.ParseGroupKind(text)] = true
		}
	}
	return found, nil
}

// write brings kinds and report into the record.
func (r *record) write(ctx context.Context, kinds map[schema.GroupKind]bool, report *Report) error {
	all := r.client.CoreV1().ConfigMaps(RecordNamespace)
	for {
		want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: RecordNamespace, Name: r.name}}
		if r.is != nil {
			want = r.is.DeepCopy()
		}
		r.fill(want, kinds, report)
		var err error
		switch {
		case r.is == nil:
			want, err = all.Create(ctx, want, metav1.CreateOptions{FieldManager: Manager})
		case !apiequality.Semantic.DeepEqual(want, r.is):
			want, err = all.Update(ctx, want, metav1.UpdateOptions{FieldManager: Manager})
		}
		if err == nil {
			r.is, r.groupKinds = want, kinds
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && (r.is == nil || !apierrors.IsNotFound(err)) {
			return fmt.Errorf("record of the folder: %w", err)
		}
		// It was changed, made or deleted by somebody else.
		if _, err := r.open(ctx); err != nil {
			return err
		}
	}
}

func (r *record) fill(m *corev1.ConfigMap, kinds map[schema.GroupKind]bool, report *Report) {
	var names []string
	for gk := range kinds {
		names = append(names, gk.String())
	}
	slices.Sort(names)
	if m.Labels == nil {
		m.Labels = map[string]string{}
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Labels[labelID] = SetID(r.name)
	maps.Copy(m.Annotations, map[string]string{
		annotationTool: r.tool, annotationKinds: strings.Join(names, ","), annotationFolder: r.dir,
	})
	if report != nil {
		m.Data = map[string]string{reportKey: report.text()}
	}
}

// text leaves out rows that have nothing to tell where there are too many.
func (r Report) text() string {
	data, err := json.Marshal(r)
	if err == nil && len(data) > maxReport {
		short := Report{Set: r.Set, Folder: r.Folder}
		size := 0
		for _, row := range r.Rows {
			if size += 200 + len(row.Error); row.Error == "" || size > maxReport/2 {
				short.Omitted++
				continue
			}
			short.Rows = append(short.Rows, row)
		}
		data, err = json.Marshal(short)
	}
	if err != nil {
		return "" // texts and numbers can always be written
	}
	return string(data)
}
