package manager

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/controller/cronjob"
	"github.com/carob-project/carob/pkg/controller/daemonset"
	"github.com/carob-project/carob/pkg/controller/deployment"
	"github.com/carob-project/carob/pkg/controller/disruption"
	"github.com/carob-project/carob/pkg/controller/job"
	"github.com/carob-project/carob/pkg/controller/replicaset"
	"github.com/carob-project/carob/pkg/controller/statefulset"
	"github.com/carob-project/carob/pkg/controller/tainteviction"
	"github.com/carob-project/carob/pkg/wallclock"
)

// recorder tells of what a controller does, under the name that it has in
// Kubernetes.
func (m *Manager) recorder(name string) record.EventRecorder {
	return m.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: name})
}

// buildWorkloads makes the controllers that keep pods.
func (m *Manager) buildWorkloads(o Options) error {
	sets, err := replicaset.New(replicaset.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("replicaset-controller"), Log: o.Log.Named("replicaset"),
	})
	if err != nil {
		return err
	}
	old, err := replicaset.NewForReplicationControllers(replicaset.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("replication-controller"), Log: o.Log.Named("replicationcontroller"),
	})
	if err != nil {
		return err
	}
	deployments, err := deployment.New(deployment.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("deployment-controller"), Log: o.Log.Named("deployment"),
	})
	if err != nil {
		return err
	}
	stateful, err := statefulset.New(statefulset.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("statefulset-controller"), Log: o.Log.Named("statefulset"),
	})
	if err != nil {
		return err
	}
	m.loops["statefulset"] = stateful
	m.loops["replicaset"], m.loops["replicationcontroller"], m.loops["deployment"] = sets, old, deployments
	return m.buildBatch(o)
}

// buildBatch makes the controllers of work that ends, and those of DaemonSets,
// disruption budgets and taints that end pods.
func (m *Manager) buildBatch(o Options) error {
	daemons, err := daemonset.New(daemonset.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("daemonset-controller"), Log: o.Log.Named("daemonset"),
	})
	if err != nil {
		return err
	}
	jobs, err := job.New(job.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("job-controller"), Log: o.Log.Named("job"),
	})
	if err != nil {
		return err
	}
	crons, err := cronjob.New(cronjob.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("cronjob-controller"), Clock: wallclock.Watch, Log: o.Log.Named("cronjob"),
	})
	if err != nil {
		return err
	}
	budgets, err := disruption.New(disruption.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("controllermanager"), Log: o.Log.Named("disruption"),
	})
	if err != nil {
		return err
	}
	evictions, err := tainteviction.New(tainteviction.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("taint-eviction-controller"), Log: o.Log.Named("tainteviction"),
	})
	if err != nil {
		return err
	}
	m.loops["disruption"], m.loops["tainteviction"] = budgets, evictions
	if err := m.buildStorage(o); err != nil {
		return err
	}
	m.loops["daemonset"], m.loops["job"], m.loops["cronjob"] = daemons, jobs, crons
	return nil
}
