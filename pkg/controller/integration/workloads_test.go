package integration

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// agent plays a node's agent: pods that have a node get ready, pods that are
// being deleted go. An image named stuck never gets ready; done and fail end at
// once.
func agent(t *testing.T, c kubernetes.Interface, namespace string) {
	t.Helper()
	w, err := c.CoreV1().Pods(namespace).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, "agent", func(ctx context.Context) error {
		defer w.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case e, ok := <-w.ResultChan():
				if !ok {
					return nil
				}
				if p, ok := e.Object.(*corev1.Pod); ok && (e.Type == "ADDED" || e.Type == "MODIFIED") {
					play(ctx, c, p)
				}
			}
		}
	})
}

func play(ctx context.Context, c kubernetes.Interface, p *corev1.Pod) {
	switch {
	case p.DeletionTimestamp != nil:
		_ = c.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
			GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &p.UID},
		})
	case p.Spec.NodeName != "" && p.Status.Phase == corev1.PodPending && !strings.Contains(p.Spec.Containers[0].Image, "stuck"):
		p = p.DeepCopy()
		p.Status.Phase = corev1.PodRunning
		switch p.Spec.Containers[0].Image {
		case "done":
			end(ctx, c, p, corev1.PodSucceeded, 0)
			return
		case "fail":
			end(ctx, c, p, corev1.PodFailed, 3)
			return
		}
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
		})
		_, _ = c.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{})
	}
}

func end(ctx context.Context, c kubernetes.Interface, p *corev1.Pod, phase corev1.PodPhase, code int32) {
	p.Status.Phase = phase
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()},
	}}}
	_, _ = c.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{})
}

func template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func patch(format string, a ...any) []byte { return fmt.Appendf(nil, format, a...) }

func TestWorkloads(t *testing.T) {
	c := start(t)
	makeNode(t, c, "node", "64")
	for name, f := range map[string]func(*testing.T, kubernetes.Interface, string){
		"ReplicaSet":            replicaSet,
		"ReplicationController": replicationController,
		"Deployment":            deployments,
		"StatefulSet":           statefulSet,
		"Refused":               refusedTemplates,
		"Job":                   jobs,
		"CronJob":               cronJobs,
		"DaemonSet":             daemonSet,
		"LimitRange":            limitRange,
		"DisruptionBudget":      disruptionBudget,
		"ResourceQuota":         resourceQuota,
	} {
		t.Run(name, func(t *testing.T) {
			ns := strings.ToLower(name)
			makeNamespace(t, c, ns)
			agent(t, c, ns)
			f(t, c, ns)
		})
	}
}

func pods(t *testing.T, c kubernetes.Interface, ns string) map[string]*corev1.Pod {
	t.Helper()
	list, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*corev1.Pod{}
	for i := range list.Items {
		out[list.Items[i].Name] = &list.Items[i]
	}
	return out
}

func replicaSet(t *testing.T, c kubernetes.Interface, ns string) {
	sets := c.AppsV1().ReplicaSets(ns)
	stray := makePod(t, c, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "stray", Labels: map[string]string{"app": "x"}}, Spec: template("x", "i").Spec})
	rs, err := sets.Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Spec:       appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](3), Selector: selector("x"), Template: template("x", "i")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	settled := func(n int32) func() string {
		return func() string {
			rs, err := sets.Get(t.Context(), "x", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			s := rs.Status
			if s.Replicas != n || s.ReadyReplicas != n || s.AvailableReplicas != n || s.FullyLabeledReplicas != n ||
				ptr.Deref(s.TerminatingReplicas, -1) != 0 || s.ObservedGeneration != rs.Generation {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		}
	}
	eventually(t, settled(3))
	all := pods(t, c, ns)
	if p := all["stray"]; len(all) != 3 || p == nil || p.UID != stray.UID || !metav1.IsControlledBy(p, rs) {
		t.Errorf("not adopted: %v", all)
	}
	// A pod that the selector no longer finds is let go, and replaced.
	if _, err := c.CoreV1().Pods(ns).Patch(t.Context(), "stray", types.MergePatchType, patch(`{"metadata":{"labels":{"app":"y"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		all := pods(t, c, ns)
		if len(all) != 4 || len(all["stray"].OwnerReferences) != 0 {
			return fmt.Sprint(len(all), " pods, owners ", all["stray"].OwnerReferences)
		}
		return ""
	})
	eventually(t, settled(3))
	scale, err := sets.GetScale(t.Context(), "x", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 3 || scale.Status.Selector != "app=x" {
		t.Errorf("scale %+v, %v", scale, err)
	}
	scale.Spec.Replicas, scale.ResourceVersion = 1, ""
	if _, err := sets.UpdateScale(t.Context(), "x", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, settled(1))
	eventually(t, func() string { return told(t, c, ns, "x", "SuccessfulDelete", "Deleted pod: x-") })
	eventually(t, func() string { return told(t, c, ns, "x", "SuccessfulCreate", "Created pod: x-") })
	quiet(t, func() string {
		rs, err := sets.Get(t.Context(), "x", metav1.GetOptions{})
		return fmt.Sprint(rs.ResourceVersion, err)
	})
	if err := sets.Delete(t.Context(), "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if all := pods(t, c, ns); len(all) != 1 {
			return fmt.Sprint(len(all), " pods")
		}
		return ""
	})
}

// quiet fails if what version returns changes within a moment.
func quiet(t *testing.T, version func() string) {
	t.Helper()
	was := version()
	time.Sleep(300 * time.Millisecond)
	if is := version(); is != was {
		t.Errorf("written while settled: %s, then %s", was, is)
	}
}

func replicationController(t *testing.T, c kubernetes.Interface, ns string) {
	tpl := template("x", "i")
	rcs := c.CoreV1().ReplicationControllers(ns)
	if _, err := rcs.Create(t.Context(), &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](2), Template: &tpl},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ready := func(n int32) func() string {
		return func() string {
			rc, err := rcs.Get(t.Context(), "x", metav1.GetOptions{})
			if err != nil || rc.Status.AvailableReplicas != n || rc.Status.Replicas != n || rc.Status.ObservedGeneration != rc.Generation {
				return fmt.Sprintf("%+v %v", rc.Status, err)
			}
			return ""
		}
	}
	eventually(t, ready(2))
	if _, err := rcs.UpdateScale(t.Context(), "x", &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "x"}, Spec: autoscalingv1.ScaleSpec{Replicas: 1},
	}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, ready(1))
}

func deployments(t *testing.T, c kubernetes.Interface, ns string) {
	all := c.AppsV1().Deployments(ns)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "x", Annotations: map[string]string{"kubernetes.io/change-cause": "first"}},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](4), Selector: selector("x"), Template: template("x", "i:1")},
	}
	if _, err := all.Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	done := func(revision string, n int32) func() string {
		return func() string {
			d, err := all.Get(t.Context(), "x", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			s := d.Status
			if s.Replicas != n || s.UpdatedReplicas != n || s.AvailableReplicas != n || s.UnavailableReplicas != 0 || s.ReadyReplicas != n ||
				ptr.Deref(s.TerminatingReplicas, -1) != 0 || s.ObservedGeneration != d.Generation || d.Annotations["deployment.kubernetes.io/revision"] != revision {
				return fmt.Sprintf("%v %+v", d.Annotations, s)
			}
			for _, want := range []string{"Available True MinimumReplicasAvailable", "Progressing True NewReplicaSetAvailable"} {
				found := false
				for _, c := range s.Conditions {
					found = found || fmt.Sprintf("%s %s %s", c.Type, c.Status, c.Reason) == want
				}
				if !found {
					return fmt.Sprintf("no %s in %+v", want, s.Conditions)
				}
			}
			return ""
		}
	}
	change := func(format string, a ...any) {
		t.Helper()
		if _, err := all.Patch(t.Context(), "x", types.StrategicMergePatchType, patch(format, a...), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	image := func(name string) {
		t.Helper()
		change(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":%q}]}}}}`, name)
	}
	eventually(t, done("1", 4))
	for name, p := range pods(t, c, ns) {
		hash := p.Labels["pod-template-hash"]
		if hash == "" || !strings.HasPrefix(name, "x-"+hash+"-") || p.GenerateName != "x-"+hash+"-" {
			t.Errorf("pod %s has the hash %q", name, hash)
		}
	}
	image("i:2")
	eventually(t, done("2", 4))
	image("i:1")
	eventually(t, done("3", 4))
	sets, err := c.AppsV1().ReplicaSets(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(sets.Items) != 2 {
		t.Fatalf("%d sets, %v", len(sets.Items), err)
	}
	for _, rs := range sets.Items {
		want := map[string]string{"i:1": "3 1", "i:2": "2 "}[rs.Spec.Template.Spec.Containers[0].Image]
		if got := rs.Annotations["deployment.kubernetes.io/revision"] + " " + rs.Annotations["deployment.kubernetes.io/revision-history"]; got != want {
			t.Errorf("%s has revisions %q, want %q", rs.Name, got, want)
		}
	}
	if _, err := all.UpdateScale(t.Context(), "x", &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "x"}, Spec: autoscalingv1.ScaleSpec{Replicas: 2},
	}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, done("3", 2))
	eventually(t, func() string { return told(t, c, ns, "x", "ScalingReplicaSet", "from 4 to 2") })
	quiet(t, func() string {
		d, err := all.Get(t.Context(), "x", metav1.GetOptions{})
		return fmt.Sprint(d.ResourceVersion, err)
	})
	// A rollout that cannot finish times out, and is rolled back if so wanted.
	change(`{"metadata":{"annotations":{"carob.dev/rollback":"on-failure"}},"spec":{"progressDeadlineSeconds":1}}`)
	image("stuck")
	eventually(t, func() string { return told(t, c, ns, "x", "DeploymentRollback", "to revision 3") })
	eventually(t, done("5", 2))
	// Recreate: never pods of two templates.
	change(`{"spec":{"progressDeadlineSeconds":600,"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}`)
	w, err := c.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image("i:4")
	eventually(t, done("6", 2))
	w.Stop()
	running := map[string]string{}
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		running[p.Name] = p.Labels["pod-template-hash"]
		if e.Type == "DELETED" {
			delete(running, p.Name)
		}
		hashes := map[string]bool{}
		for hash := range maps.Values(running) {
			hashes[hash] = true
		}
		if len(hashes) > 1 {
			t.Errorf("pods of two templates: %v", running)
		}
	}
}

func refusedTemplates(t *testing.T, c kubernetes.Interface, ns string) {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](-1), Selector: selector("y"), Template: template("x", "i:1")},
	}
	d.Spec.Template.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "device"}}
	d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	_, err := c.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"spec.replicas: Invalid value: -1: must be greater than or equal to 0",
		"spec.template.spec.resourceClaims: Forbidden: not supported yet",
		"spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`",
		"spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func statefulSet(t *testing.T, c kubernetes.Interface, ns string) {
	all := c.AppsV1().StatefulSets(ns)
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Spec:       appsv1.StatefulSetSpec{Replicas: ptr.To[int32](3), ServiceName: "svc", Selector: selector("x"), Template: template("x", "i:1")},
	}
	if _, err := all.Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	done := func(image string, n int32) func() string {
		return func() string {
			set, err := all.Get(t.Context(), "x", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			s := set.Status
			if s.Replicas != n || s.ReadyReplicas != n || s.AvailableReplicas != n || s.CurrentReplicas != n || s.UpdatedReplicas != n ||
				s.CurrentRevision != s.UpdateRevision || s.ObservedGeneration != set.Generation {
				return fmt.Sprintf("%+v", s)
			}
			for name, p := range pods(t, c, ns) {
				if p.Spec.Containers[0].Image != image || p.Labels["apps.kubernetes.io/pod-index"] != strings.TrimPrefix(name, "x-") ||
					p.Labels["statefulset.kubernetes.io/pod-name"] != name || p.Labels["controller-revision-hash"] != s.UpdateRevision ||
					p.Spec.Hostname != name || p.Spec.Subdomain != "svc" {
					return fmt.Sprintf("%s %v %+v", name, p.Labels, p.Spec)
				}
			}
			return ""
		}
	}
	change := func(format string, a ...any) {
		t.Helper()
		if _, err := all.Patch(t.Context(), "x", types.StrategicMergePatchType, patch(format, a...), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, done("i:1", 3))
	change(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i:2"}]}}}}`)
	eventually(t, done("i:2", 3))
	change(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i:1"}]}},"replicas":2}}`)
	eventually(t, done("i:1", 2))
	revisions, err := c.AppsV1().ControllerRevisions(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(revisions.Items) != 2 {
		t.Errorf("%d revisions, %v", len(revisions.Items), err)
	}
	eventually(t, func() string {
		return told(t, c, ns, "x", "SuccessfulCreate", "Create Pod x-0 in StatefulSet x successful")
	})
	quiet(t, func() string {
		set, err := all.Get(t.Context(), "x", metav1.GetOptions{})
		return fmt.Sprint(set.ResourceVersion, err)
	})
	set.Name = "claims"
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "v"}}}
	if _, err := all.Create(t.Context(), set, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required") {
		t.Errorf("claims: %v", err)
	}
}

// limitRange: what a namespace's ranges say holds for pods, whoever makes them.
func limitRange(t *testing.T, c kubernetes.Interface, ns string) {
	if _, err := c.CoreV1().LimitRanges(ns).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "bounds"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{"memory": resource.MustParse("64Mi")}, DefaultRequest: corev1.ResourceList{"cpu": resource.MustParse("50m")},
		}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	open := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "open-"}, Spec: template("x", "i").Spec}
	// The server hears of the range a moment later.
	eventually(t, func() string {
		p := makePod(t, c, open.DeepCopy())
		got := p.Spec.Containers[0].Resources
		if got.Limits.Memory().String() != "64Mi" || got.Requests.Cpu().String() != "50m" {
			return fmt.Sprintf("%+v", got)
		}
		return ""
	})
	big := open.DeepCopy()
	big.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"memory": resource.MustParse("65Mi")}
	_, err := c.CoreV1().Pods(ns).Create(t.Context(), big, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "maximum memory usage per Container is 64Mi, but limit is 65Mi") {
		t.Errorf("%v", err)
	}
}
