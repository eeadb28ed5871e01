package folder

import (
	"context"
	"fmt"
	"maps"
	"time"

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
	r, s, err := openSet(ctx, client, cluster, dir, tool, false)
	if err != nil {
		return Report{}, nil, err
	}
	files, _ := Resolve(snapshot.Files, s.served, namespace)
	kinds := maps.Clone(r.groupKinds)
	addKinds(kinds, files)
	if err := r.write(ctx, kinds, nil); err != nil {
		return Report{}, nil, err
	}
	for gk := range kinds {
		resource, ok := s.served.ForGroupKind(gk)
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
