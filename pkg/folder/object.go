// Package folder keeps what the API holds in line with a folder of manifests:
// what a file says is applied, what is in no file any more is pruned, and a file
// that is wrong leaves what it last said as it is. What it decides is pure
// (parse.go, plan.go); reading, watching and writing are thin. It must not know
// what any kind of object means, beyond the order in which kinds are best made.
package folder

import (
	"cmp"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// What objects carry that the folder has applied.
const (
	// Manager is the field manager of all writes.
	Manager = "carob-manifests"
	// LabelPartOf names the set that an object belongs to, as in the
	// conventions of apply sets.
	LabelPartOf = "applyset.kubernetes.io/part-of"
	// AnnotationFile is the file that the object is from.
	AnnotationFile = "carob.dev/manifest"
	// AnnotationHash names the document as it was applied.
	AnnotationHash = "carob.dev/manifest-hash"
	// AnnotationRolledBack has the hash of the document whose rollout failed and
	// was taken back: it is not applied again.
	AnnotationRolledBack = "carob.dev/rolled-back-manifest"
	// AnnotationAdopt, in a manifest and with the value true, takes over an
	// object that others have made.
	AnnotationAdopt = "carob.dev/adopt"
)

// Key names an object, whatever version of its kind is meant.
type Key struct{ Group, Kind, Namespace, Name string }

// String names the object for people.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

func (k Key) compare(o Key) int {
	return cmp.Or(strings.Compare(k.Kind, o.Kind), strings.Compare(k.Group, o.Group),
		strings.Compare(k.Namespace, o.Namespace), strings.Compare(k.Name, o.Name))
}

// Problem is what is wrong with a file, and where. Line and Field are zero
// where it is all of the file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// Error tells file, line and field.
func (p Problem) Error() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	if p.Field != "" {
		where += ": " + p.Field
	}
	return where + ": " + p.Message
}

// Document is an object as a file wants it.
type Document struct {
	Key
	APIVersion string
	// Resource is what serves the kind; see Resolve.
	Resource resources.Resource
	File     string
	Line     int
	// Content is the object without what the API server sets itself.
	Content map[string]any
	// Hash names Content.
	Hash  string
	Adopt bool
	at    position
}

// File is a file of the folder as it was read.
type File struct {
	// Path is relative to the folder.
	Path      string
	Documents []*Document
	Problems  []Problem
	// Text is the content. What a file that is wrong names in any way is not
	// pruned.
	Text []byte
	// Unknown says that the content is not known: nothing is pruned then.
	Unknown bool
}

// Member is an object of the set as the API has it.
type Member struct {
	Key
	Resource        resources.Resource
	UID             string
	ResourceVersion string
	File, Hash      string
	// RolledBack is the hash of the document that was taken back.
	RolledBack string
	// Owned names the fields that are the folder's, and no more the folder's
	// alone once somebody else has changed them.
	Owned    string
	Deleting bool
}

func memberOf(r resources.Resource, o *metav1.PartialObjectMetadata) Member {
	return Member{
		Key:      Key{Group: r.GVR.Group, Kind: r.Kind, Namespace: o.Namespace, Name: o.Name},
		Resource: r, UID: string(o.UID), ResourceVersion: o.ResourceVersion,
		File: o.Annotations[AnnotationFile], Hash: o.Annotations[AnnotationHash],
		RolledBack: o.Annotations[AnnotationRolledBack], Owned: owned(o), Deleting: o.DeletionTimestamp != nil,
	}
}

// owned is the folder's part of the managed fields; empty where it has none.
// It gets smaller as soon as others change one of these fields.
func owned(o metav1.Object) string {
	for _, m := range o.GetManagedFields() {
		if m.Manager == Manager && m.Operation == metav1.ManagedFieldsOperationApply && m.Subresource == "" && m.FieldsV1 != nil {
			return digest(m.FieldsV1.GetRawBytes())
		}
	}
	return ""
}
