package apiserver

import (
	"fmt"
	"reflect"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/carob-project/carob/pkg/registry/clustertrustbundle"
	"github.com/carob-project/carob/pkg/registry/configmap"
	"github.com/carob-project/carob/pkg/registry/controllerrevision"
	"github.com/carob-project/carob/pkg/registry/cronjob"
	"github.com/carob-project/carob/pkg/registry/daemonset"
	"github.com/carob-project/carob/pkg/registry/deployment"
	"github.com/carob-project/carob/pkg/registry/event"
	"github.com/carob-project/carob/pkg/registry/job"
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

// apiTypes and metricsTypes are where the types that get an internal version
// come from; those of meta/v1 have their own.
const (
	apiTypes     = "k8s.io/api/"
	metricsTypes = "k8s.io/metrics/"
)

// schemes are the types the server knows.
type schemes struct {
	// full serves requests. The library converts each object to an internal
	// version and back; here both are the same Go type, so nothing needs to
	// be converted but events.
	full *runtime.Scheme
	// external is without internal versions, for the documentation of types.
	external *runtime.Scheme
	codecs   serializer.CodecFactory
	params   runtime.ParameterCodec
}

func newSchemes() (*schemes, error) {
	s := &schemes{full: runtime.NewScheme(), external: runtime.NewScheme()}
	for _, scheme := range []*runtime.Scheme{s.full, s.external} {
		if err := addVersions(scheme); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	if err := addInternal(s.full); err != nil {
		return nil, fmt.Errorf("scheme: %w", err)
	}
	for _, add := range []func(*runtime.Scheme) error{
		metainternalversion.AddToScheme,
		configmap.Kind().AddToScheme, serviceaccount.Kind().AddToScheme, lease.Kind().AddToScheme, namespace.Kind().AddToScheme,
		runtimeclass.Kind().AddToScheme, priorityclass.AddToScheme,
		serviceaccount.AddTokenToScheme, secret.AddToScheme, node.AddToScheme, event.AddToScheme, pod.AddToScheme, podlog.AddToScheme, podstream.AddToScheme, podproxy.AddToScheme,
		metrics.AddToScheme, limitrange.AddToScheme, clustertrustbundle.Kind().AddToScheme, resourcequota.AddToScheme,
		persistentvolume.AddToScheme, persistentvolumeclaim.AddToScheme, storageclass.AddToScheme,
		podtemplate.AddToScheme, replicaset.AddToScheme, deployment.AddToScheme, replicationcontroller.AddToScheme,
		statefulset.AddToScheme, controllerrevision.Kind().AddToScheme, job.AddToScheme, cronjob.AddToScheme, daemonset.AddToScheme, poddisruptionbudget.Kind().AddToScheme,
	} {
		if err := add(s.full); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	s.codecs = serializer.NewCodecFactory(s.full)
	s.params = runtime.NewParameterCodec(s.full)
	return s, nil
}

func groupVersions() []schema.GroupVersion {
	return []schema.GroupVersion{
		corev1.SchemeGroupVersion, coordinationv1.SchemeGroupVersion, eventsv1.SchemeGroupVersion, policyv1.SchemeGroupVersion,
		schedulingv1.SchemeGroupVersion, nodev1.SchemeGroupVersion, storagev1.SchemeGroupVersion, certificatesv1.SchemeGroupVersion,
		authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion,
		metricsv1beta1.SchemeGroupVersion,
		appsv1.SchemeGroupVersion, autoscalingv1.SchemeGroupVersion, batchv1.SchemeGroupVersion,
	}
}

func addVersions(s *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, coordinationv1.AddToScheme, eventsv1.AddToScheme, policyv1.AddToScheme,
		schedulingv1.AddToScheme, nodev1.AddToScheme, storagev1.AddToScheme, certificatesv1.AddToScheme,
		authenticationv1.AddToScheme, authorizationv1.AddToScheme,
		metricsv1beta1.AddToScheme,
		appsv1.AddToScheme, autoscalingv1.AddToScheme, batchv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return err
		}
	}
	metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)
	for _, gv := range groupVersions() {
		if err := s.SetVersionPriority(gv); err != nil {
			return err
		}
	}
	return nil
}

// addInternal registers every type under its group's internal version too.
// The types of events.k8s.io are left out: their internal form is the core
// Event.
func addInternal(s *runtime.Scheme) error {
	for _, gv := range groupVersions() {
		if gv == eventsv1.SchemeGroupVersion {
			continue
		}
		internal := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
		for name, t := range s.KnownTypes(gv) {
			if !strings.HasPrefix(t.PkgPath(), apiTypes) && !strings.HasPrefix(t.PkgPath(), metricsTypes) {
				continue
			}
			obj, ok := reflect.New(t).Interface().(runtime.Object)
			if !ok {
				return fmt.Errorf("%s is no API type", t)
			}
			s.AddKnownTypeWithName(internal.WithKind(name), obj)
		}
	}
	return nil
}
