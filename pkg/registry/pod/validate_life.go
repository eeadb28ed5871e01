package pod

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	engine "github.com/carob-project/carob/pkg/pod"
)

const onlySidecars = "may not be set for init containers without restartPolicy=Always"

// validateLife checks probes and hooks of a container.
func validateLife(c *corev1.Container, s *corev1.PodSpec, init bool, path *field.Path) field.ErrorList {
	if init && !restartable(c) {
		var errs field.ErrorList
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
			{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
		} {
			if f.set {
				errs = append(errs, field.Forbidden(path.Child(f.name), onlySidecars))
			}
		}
		return errs
	}
	errs := validateLifecycle(c.Lifecycle, s, path.Child("lifecycle"))
	errs = append(errs, validateLiveness(c.LivenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, validateReadiness(c.ReadinessProbe, path.Child("readinessProbe"))...)
	return append(errs, validateLiveness(c.StartupProbe, path.Child("startupProbe"))...)
}

// validateLiveness checks a liveness or a startup probe: one success is enough.
func validateLiveness(p *corev1.Probe, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateProbe(p, path)
	if p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

func validateReadiness(p *corev1.Probe, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateProbe(p, path)
	if g := p.TerminationGracePeriodSeconds; g != nil {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must not be set for readinessProbes"))
	}
	return errs
}

func validateProbe(p *corev1.Probe, path *field.Path) field.ErrorList {
	errs := validateHandler(handler{exec: p.Exec, httpGet: p.HTTPGet, tcpSocket: p.TCPSocket, grpc: p.GRPC}, path)
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.InitialDelaySeconds}, {"timeoutSeconds", p.TimeoutSeconds},
		{"periodSeconds", p.PeriodSeconds}, {"successThreshold", p.SuccessThreshold},
		{"failureThreshold", p.FailureThreshold},
	} {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(n.value), path.Child(n.name))...)
	}
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0"))
	}
	return errs
}

func validateLifecycle(l *corev1.Lifecycle, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	for _, h := range []struct {
		name string
		hook *corev1.LifecycleHandler
	}{{"postStart", l.PostStart}, {"preStop", l.PreStop}} {
		if h.hook != nil {
			errs = append(errs, validateHandler(handler{
				exec: h.hook.Exec, httpGet: h.hook.HTTPGet, tcpSocket: h.hook.TCPSocket,
				sleep: h.hook.Sleep, grace: s.TerminationGracePeriodSeconds,
			}, path.Child(h.name))...)
		}
	}
	if l.StopSignal == nil {
		return errs
	}
	at := path.Child("stopSignal")
	if s.OS == nil || s.OS.Name == "" {
		return append(errs, field.Forbidden(at, "may not be set for containers with empty `spec.os.name`"))
	}
	if _, ok := engine.SignalNumber(string(*l.StopSignal)); !ok {
		errs = append(errs, field.NotSupported(at, *l.StopSignal, stopSignals()))
	}
	return errs
}

func stopSignals() []string {
	var names []string
	for n := 1; n < 32; n++ {
		if name := unix.SignalName(unix.Signal(n)); name != "" {
			names = append(names, name)
		}
	}
	names = append(names, "SIGRTMIN", "SIGRTMIN+<n>", "SIGRTMAX-<n>", "SIGRTMAX")
	slices.Sort(names)
	return names
}

// handler is what a probe or a hook does; exactly one has to be set.
type handler struct {
	exec      *corev1.ExecAction
	httpGet   *corev1.HTTPGetAction
	tcpSocket *corev1.TCPSocketAction
	grpc      *corev1.GRPCAction
	sleep     *corev1.SleepAction
	grace     *int64
}

func validateHandler(h handler, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	handlers := 0
	one := func(set bool, name string, check func(*field.Path) field.ErrorList) {
		if !set {
			return
		}
		if handlers++; handlers > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
			return
		}
		errs = append(errs, check(path.Child(name))...)
	}
	one(h.exec != nil, "exec", func(at *field.Path) field.ErrorList {
		if len(h.exec.Command) == 0 {
			return field.ErrorList{field.Required(at.Child("command"), "")}
		}
		return nil
	})
	one(h.httpGet != nil, "httpGet", func(at *field.Path) field.ErrorList { return validateHTTPGet(h.httpGet, at) })
	one(h.tcpSocket != nil, "tcpSocket", func(at *field.Path) field.ErrorList {
		return validatePortNumberOrName(h.tcpSocket.Port, at.Child("port"))
	})
	one(h.grpc != nil, "grpc", func(at *field.Path) field.ErrorList {
		errs := validatePortNumber(at.Child("port"), h.grpc.Port)
		if h.grpc.Mode != nil {
			errs = append(errs, oneOf(at.Child("mode"), *h.grpc.Mode, corev1.GRPCProbeModePlaintext, corev1.GRPCProbeModeTLS)...)
		}
		return errs
	})
	one(h.sleep != nil, "sleep", func(at *field.Path) field.ErrorList {
		if h.grace == nil || h.sleep.Seconds >= 0 && h.sleep.Seconds <= *h.grace {
			return nil
		}
		return field.ErrorList{field.Invalid(at, h.sleep.Seconds,
			fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *h.grace))}
	})
	if handlers == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(h *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if h.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, validatePortNumberOrName(h.Port, path.Child("port"))...)
	errs = append(errs, oneOf(path.Child("scheme"), h.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	if h.Protocol != nil {
		errs = append(errs, oneOf(path.Child("protocol"), *h.Protocol, corev1.HTTPProtocolHTTP1, corev1.HTTPProtocolHTTP2)...)
	}
	for _, header := range h.HTTPHeaders {
		errs = append(errs, invalid(path.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

func validatePortNumberOrName(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.Int {
		return invalid(path, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	}
	return invalid(path, port.StrVal, validation.IsValidPortName(port.StrVal))
}

func validateReadinessGates(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, g := range s.ReadinessGates {
		at := path.Child("readinessGates").Index(i).Child("conditionType")
		errs = append(errs, invalid(at, string(g.ConditionType), validation.IsQualifiedName(string(g.ConditionType)))...)
	}
	return errs
}

func validateSchedulingGates(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, g := range s.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		errs = append(errs, invalid(at, g.Name, validation.IsQualifiedName(g.Name))...)
		if seen.Has(g.Name) {
			errs = append(errs, field.Duplicate(at, g.Name))
		}
		seen.Insert(g.Name)
	}
	return errs
}

// validateGatesUpdate lets scheduling gates go, and as long as there were some
// the node selector and the node affinity grow.
func validateGatesUpdate(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, g := range s.SchedulingGates {
		if !slices.Contains(old.SchedulingGates, g) {
			errs = append(errs, field.Forbidden(path.Child("schedulingGates").Index(i).Child("name"),
				fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}
	if len(old.SchedulingGates) == 0 {
		return errs
	}
	for key, value := range old.NodeSelector {
		if now, ok := s.NodeSelector[key]; !ok || now != value {
			errs = append(errs, field.Invalid(path.Child("nodeSelector"), s.NodeSelector,
				"only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	return append(errs, validateNodeAffinityUpdate(s, old, path)...)
}
