package apiserver

import (
	"fmt"
	"maps"
	"math"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/recognizer"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/carob-project/carob/pkg/registry/clustertrustbundle"
	"github.com/carob-project/carob/pkg/registry/configmap"
	"github.com/carob-project/carob/pkg/registry/controllerrevision"
	"github.com/carob-project/carob/pkg/registry/cronjob"
	"github.com/carob-project/carob/pkg/registry/daemonset"
	"github.com/carob-project/carob/pkg/registry/deployment"
	"github.com/carob-project/carob/pkg/registry/event"
	"github.com/carob-project/carob/pkg/registry/job"
	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/lease"
	"github.com/carob-project/carob/pkg/registry/limitrange"
	"github.com/carob-project/carob/pkg/registry/metrics"
	"github.com/carob-project/carob/pkg/registry/namespace"
	"github.com/carob-project/carob/pkg/registry/node"
	"github.com/carob-project/carob/pkg/registry/persistentvolume"
	"github.com/carob-project/carob/pkg/registry/persistentvolumeclaim"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/poddisruptionbudget"
	"github.com/carob-project/carob/pkg/registry/podlog"
	"github.com/carob-project/carob/pkg/registry/podproxy"
	"github.com/carob-project/carob/pkg/registry/podstream"
	"github.com/carob-project/carob/pkg/registry/podtemplate"
	"github.com/carob-project/carob/pkg/registry/priorityclass"
	"github.com/carob-project/carob/pkg/registry/replicaset"
	"github.com/carob-project/carob/pkg/registry/replicationcontroller"
	"github.com/carob-project/carob/pkg/registry/resourcequota"
	"github.com/carob-project/carob/pkg/registry/runtimeclass"
	"github.com/carob-project/carob/pkg/registry/secret"
	"github.com/carob-project/carob/pkg/registry/serviceaccount"
	"github.com/carob-project/carob/pkg/registry/statefulset"
	"github.com/carob-project/carob/pkg/registry/storageclass"
)

// etcdPrefix is the root of all keys.
const etcdPrefix = "/registry"

// countPoll is how often the number of objects is counted, for the metrics
// only.
const countPoll = 5 * time.Minute

// storageOptions tells every kind where and in which form it is stored:
// protobuf, under its resource's name.
type storageOptions struct {
	schemes  *schemes
	config   storagebackend.Config
	protobuf runtime.Serializer
}

func newStorageOptions(s *schemes, endpoints []string) (*storageOptions, error) {
	info, ok := runtime.SerializerInfoForMediaType(s.codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return nil, fmt.Errorf("no serializer for %s", runtime.ContentTypeProtobuf)
	}
	c := storagebackend.NewDefaultConfig(etcdPrefix, nil)
	c.Transport.ServerList = endpoints
	c.CountMetricPollPeriod = countPoll
	// Whoever runs the store drops its old revisions. The library never does,
	// and learns of it only if it believes that it will.
	c.CompactionInterval = math.MaxInt64
	return &storageOptions{schemes: s, config: *c, protobuf: info.Serializer}, nil
}

// GetRESTOptions implements generic.RESTOptionsGetter. Events are not cached:
// many are written and few read. Neither are quotas: each creation is decided on
// what is stored.
func (o *storageOptions) GetRESTOptions(r schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	stored := o.schemes.full.PrioritizedVersionsForGroup(r.Group)
	if len(stored) == 0 {
		return generic.RESTOptions{}, fmt.Errorf("group %q of %s is not known", r.Group, r.Resource)
	}
	internal := schema.GroupVersion{Group: r.Group, Version: runtime.APIVersionInternal}
	decoder := recognizer.NewDecoder(o.protobuf, o.schemes.codecs.UniversalDeserializer())
	config := o.config
	config.Codec = o.schemes.codecs.CodecForVersions(o.protobuf, decoder, stored[0], internal)
	config.EncodeVersioner = stored[0]
	options := generic.RESTOptions{
		StorageConfig:           config.ForResource(r),
		Decorator:               genericregistry.StorageWithCacher(),
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          r.Resource,
		CountMetricPollPeriod:   config.CountMetricPollPeriod,
	}
	if r == corev1.Resource("events") || r == corev1.Resource("resourcequotas") {
		options.Decorator = generic.UndecoratedStorage
	}
	return options, nil
}

type storageMap = map[string]rest.Storage

// groups makes the storage of all kinds, by group and resource.
func groups(getter generic.RESTOptionsGetter, transport NodeTransport) (map[schema.GroupVersion]storageMap, error) {
	policies, budgets, err := poddisruptionbudget.NewStorage(getter)
	if err != nil {
		return nil, err
	}
	core := storageMap{}
	for _, add := range []func() (storageMap, error){
		func() (storageMap, error) { return namespace.NewStorage(getter) },
		func() (storageMap, error) { return node.NewStorage(getter) },
		func() (storageMap, error) { return pods(getter, transport, budgets) },
		func() (storageMap, error) { return replicationcontroller.NewStorage(getter) },
		func() (storageMap, error) { return resourcequota.NewStorage(getter) },
		func() (storageMap, error) { return single(configmap.Kind(), getter) },
		func() (storageMap, error) { return single(secret.Kind(), getter) },
		func() (storageMap, error) { return single(serviceaccount.Kind(), getter) },
		func() (storageMap, error) { return single(event.Kind(), getter) },
		func() (storageMap, error) { return single(limitrange.Kind(), getter) },
		func() (storageMap, error) { return single(podtemplate.Kind(), getter) },
		func() (storageMap, error) {
			return join(getter, persistentvolume.NewStorage, persistentvolumeclaim.NewStorage)
		},
	} {
		m, err := add()
		if err != nil {
			return nil, err
		}
		for resource, s := range m {
			core[resource] = s
		}
	}
	apps, err := workloads(getter)
	if err != nil {
		return nil, err
	}
	batch, err := join(getter, job.NewStorage, cronjob.NewStorage)
	if err != nil {
		return nil, err
	}
	leases, err := single(lease.Kind(), getter)
	if err != nil {
		return nil, err
	}
	priorities, err := single(priorityclass.Kind(), getter)
	if err != nil {
		return nil, err
	}
	runtimes, err := single(runtimeclass.Kind(), getter)
	if err != nil {
		return nil, err
	}
	classes, err := single(storageclass.Kind(), getter)
	if err != nil {
		return nil, err
	}
	bundles, err := single(clustertrustbundle.Kind(), getter)
	if err != nil {
		return nil, err
	}
	nodes, ok := core["nodes"].(metrics.Nodes)
	if !ok {
		return nil, fmt.Errorf("nodes cannot be listed: %T", core["nodes"])
	}
	return map[schema.GroupVersion]storageMap{
		corev1.SchemeGroupVersion:         core,
		appsv1.SchemeGroupVersion:         apps,
		batchv1.SchemeGroupVersion:        batch,
		policyv1.SchemeGroupVersion:       policies,
		coordinationv1.SchemeGroupVersion: leases,
		eventsv1.SchemeGroupVersion:       {"events": core["events"]},
		schedulingv1.SchemeGroupVersion:   priorities,
		nodev1.SchemeGroupVersion:         runtimes,
		storagev1.SchemeGroupVersion:      classes,
		certificatesv1.SchemeGroupVersion: bundles,
		metricsv1beta1.SchemeGroupVersion: metrics.New(nodes, metrics.Transport(transport)),
	}, nil
}

// workloads are the kinds of apps/v1.
func workloads(getter generic.RESTOptionsGetter) (storageMap, error) {
	return join(getter, replicaset.NewStorage, deployment.NewStorage, statefulset.NewStorage, daemonset.NewStorage,
		func(g generic.RESTOptionsGetter) (storageMap, error) { return single(controllerrevision.Kind(), g) })
}

// join joins the storage of several kinds.
func join(getter generic.RESTOptionsGetter, kinds ...func(generic.RESTOptionsGetter) (storageMap, error)) (storageMap, error) {
	joined := storageMap{}
	for _, add := range kinds {
		m, err := add(getter)
		if err != nil {
			return nil, err
		}
		maps.Copy(joined, m)
	}
	return joined, nil
}

func single[T kind.Object](k kind.Kind[T], getter generic.RESTOptionsGetter) (storageMap, error) {
	s, err := kind.NewREST(k, getter)
	return storageMap{k.Resource: s}, err
}

func pods(getter generic.RESTOptionsGetter, transport NodeTransport, budgets pod.Budgets) (storageMap, error) {
	s, err := pod.NewStorage(getter)
	if err != nil {
		return nil, err
	}
	s.Eviction.Budgets = budgets
	m := s.Map()
	m["pods/log"] = podlog.New(s.Pod, podlog.Transport(transport))
	m["pods/proxy"] = podproxy.New(s.Pod)
	maps.Copy(m, podstream.New(s.Pod, podstream.Transport(transport)))
	return m, nil
}

// install makes the server serve every group.
func install(server *genericapiserver.GenericAPIServer, s *schemes, all map[schema.GroupVersion]storageMap) error {
	for gv, m := range all {
		info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, s.full, s.params, s.codecs)
		info.VersionedResourcesStorageMap[gv.Version] = m
		var err error
		if gv.Group == corev1.GroupName {
			err = server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &info)
		} else {
			err = server.InstallAPIGroup(&info)
		}
		if err != nil {
			return fmt.Errorf("group %s: %w", gv, err)
		}
	}
	return nil
}
