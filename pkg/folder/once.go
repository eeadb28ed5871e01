package folder

import (
	"context"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
)

// Once brings the API in line with a folder once and returns how that went,
// with the writes that were made. What has to wait for something is not waited
// for.
func Once(ctx context.Context, client kubernetes.Interface, cluster Cluster, dir, namespace, tool string) (Report, []Did, error) {
	snapshot := Read(dir, Snapshot{})
	if snapshot.Problem != nil {
		return Report{}, nil, *snapshot.Problem
	}
	reports, err := Reports(ctx, client)
	if err != nil {
		return Report{}, nil, err
	}
	r := &record{client: client, name: nameFor(reports, dir, false), dir: dir, tool: tool}
	s := newSession(cluster, SetID(r.name))
	if s.served, err = cluster.Served(); err != nil && len(s.served.Preferred()) == 0 {
		return Report{}, nil, err
	}
	found, err := r.open(ctx)
	if err != nil {
		return Report{}, nil, err
	}
	if !found {
		if r.groupKinds, err = search(ctx, s); err != nil {
			return Report{}, nil, err
		}
	}
	files, _ := Resolve(snapshot.Files, s.served, namespace)
	kinds := maps.Clone(r.groupKinds)
	for _, f := range files {
		for _, d := range f.Documents {
			if d.Resource.Kind != "" {
				kinds[schema.GroupKind{Group: d.Group, Kind: d.Kind}] = true
			}
		}
	}
	if err := r.write(ctx, kinds, nil); err != nil {
		return Report{}, nil, err
	}
	for gk := range kinds {
		resource, ok := kindIn(s.served, gk)
		if !ok {
			continue
		}
		all, err := cluster.List(ctx, resource, "", s.set)
		if err != nil {
			return Report{}, nil, fmt.Errorf("members of the set: %w", err)
		}
		for i := range all {
			s.see(resource, &all[i])
		}
	}
	plan, did := s.pass(ctx, files, false, time.Time{})
	if err := ctx.Err(); err != nil {
		return Report{}, did, err
	}
	report := Report{Set: r.name, Folder: dir, Rows: plan.Rows}
	return report, did, r.write(ctx, kinds, &report)
}
