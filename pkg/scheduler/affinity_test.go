package scheduler

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

const zone = "zone"

func inZone(z string) nodeOption {
	return func(n *corev1.Node) { n.Labels[zone] = z }
}

func labelled(pairs ...string) podOption {
	return func(p *corev1.Pod) {
		p.Labels = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			p.Labels[pairs[i]] = pairs[i+1]
		}
	}
}

func inNamespace(ns string) podOption { return func(p *corev1.Pod) { p.Namespace = ns } }

func affinityOf(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}, PodAffinity: &corev1.PodAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}}
	}
	return p.Spec.Affinity
}

func about(app, key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
}

func near(app, key string) podOption {
	return func(p *corev1.Pod) {
		a := affinityOf(p).PodAffinity
		a.RequiredDuringSchedulingIgnoredDuringExecution = append(a.RequiredDuringSchedulingIgnoredDuringExecution, about(app, key))
	}
}

func farFrom(app, key string) podOption {
	return func(p *corev1.Pod) {
		a := affinityOf(p).PodAntiAffinity
		a.RequiredDuringSchedulingIgnoredDuringExecution = append(a.RequiredDuringSchedulingIgnoredDuringExecution, about(app, key))
	}
}

func rather(weight int32, app, key string) podOption {
	return func(p *corev1.Pod) {
		t := corev1.WeightedPodAffinityTerm{Weight: max(weight, -weight), PodAffinityTerm: about(app, key)}
		if a := affinityOf(p); weight > 0 {
			a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, t)
		} else {
			a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, t)
		}
	}
}

func needsNode(terms ...corev1.NodeSelectorTerm) podOption {
	return func(p *corev1.Pod) {
		affinityOf(p).NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: terms}
	}
}

func named(names ...string) corev1.NodeSelectorTerm {
	var t corev1.NodeSelectorTerm
	for _, n := range names {
		t.MatchFields = append(t.MatchFields, corev1.NodeSelectorRequirement{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{n}})
	}
	return t
}

func where(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
}

func spreadBy(key string, skew int32, action corev1.UnsatisfiableConstraintAction, more ...func(*corev1.TopologySpreadConstraint)) podOption {
	return func(p *corev1.Pod) {
		c := corev1.TopologySpreadConstraint{
			TopologyKey: key, MaxSkew: skew, WhenUnsatisfiable: action,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}
		for _, m := range more {
			m(&c)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
	}
}

// three has nodes a and b in one zone, c in another, and d in none.
func three() *Snapshot {
	return snapshotOf(testNode("a", inZone("x")), testNode("b", inZone("x")), testNode("c", inZone("y")), testNode("d"))
}

func web(name string, opts ...podOption) *corev1.Pod {
	return testPod(name, append([]podOption{labelled("app", "web")}, opts...)...)
}

func TestWherePodsMayBe(t *testing.T) {
	type at = map[string]*corev1.Pod
	for name, tc := range map[string]struct {
		on   at
		pod  *corev1.Pod
		fits string // the nodes that will do
		why  string // of all that will not, if none does
	}{
		"expressions":            {pod: testPod("p", needsNode(where(zone, corev1.NodeSelectorOpIn, "x"))), fits: "ab"},
		"several terms":          {pod: testPod("p", needsNode(where(zone, corev1.NodeSelectorOpIn, "y"), where(zone, corev1.NodeSelectorOpDoesNotExist))), fits: "cd"},
		"by name":                {pod: testPod("p", needsNode(named("b"))), fits: "b"},
		"by a name there is not": {pod: testPod("p", needsNode(named("z"))), why: "4 node(s) didn't satisfy plugin(s) [NodeAffinity]."},
		"by two names at once":   {pod: testPod("p", needsNode(named("a", "b"))), why: "pod affinity terms conflict."},
		"by one of two names":    {pod: testPod("p", needsNode(named("a"), named("c"))), fits: "ac"},
		"no such label":          {pod: testPod("p", needsNode(where("w", corev1.NodeSelectorOpExists))), why: "4 node(s) didn't match Pod's node affinity/selector."},

		"near, same node":        {on: at{"a": web("w")}, pod: testPod("p", near("web", corev1.LabelHostname)), fits: "a"},
		"near, same zone":        {on: at{"a": web("w")}, pod: testPod("p", near("web", zone)), fits: "ab"},
		"near, nobody there":     {pod: testPod("p", near("web", zone)), why: "4 node(s) didn't match pod affinity rules."},
		"near, the first":        {pod: web("p", near("web", zone)), fits: "abc"},
		"near, other namespace":  {on: at{"a": web("w", inNamespace("other"))}, pod: testPod("p", near("web", zone)), why: "4 node(s) didn't match pod affinity rules."},
		"near, named namespace":  {on: at{"a": web("w", inNamespace("other"))}, pod: testPod("p", near("web", zone), namespacesOf("other")), fits: "ab"},
		"near, chosen namespace": {on: at{"a": web("w", inNamespace("other"))}, pod: testPod("p", near("web", zone), namespacesWith("team", "blue")), fits: "ab"},
		"near, all namespaces":   {on: at{"c": web("w", inNamespace("other"))}, pod: testPod("p", near("web", zone), namespacesWith()), fits: "c"},
		"far, same node":         {on: at{"a": web("w")}, pod: testPod("p", farFrom("web", corev1.LabelHostname)), fits: "bcd"},
		"far, same zone":         {on: at{"a": web("w")}, pod: testPod("p", farFrom("web", zone)), fits: "cd"},
		"far, everywhere":        {on: at{"a": web("w"), "b": web("v"), "c": web("u"), "d": web("s")}, pod: testPod("p", farFrom("web", corev1.LabelHostname)), why: "4 node(s) didn't match pod anti-affinity rules."},
		"not wanted":             {on: at{"a": testPod("w", farFrom("web", zone))}, pod: web("p"), fits: "cd"},
		"wanted":                 {on: at{"a": testPod("w", farFrom("web", zone))}, pod: testPod("p"), fits: "abcd"},
		"both at once":           {on: at{"a": web("w"), "b": testPod("v", labelled("app", "db"))}, pod: testPod("p", near("web", zone), farFrom("db", corev1.LabelHostname)), fits: "a"},

		"spread":              {on: at{"a": web("w")}, pod: web("p", spreadBy(zone, 1, corev1.DoNotSchedule)), fits: "c"},
		"spread, skew":        {on: at{"a": web("w")}, pod: web("p", spreadBy(zone, 2, corev1.DoNotSchedule)), fits: "abc"},
		"spread, not itself":  {on: at{"a": web("w")}, pod: testPod("p", spreadBy(zone, 1, corev1.DoNotSchedule)), fits: "abc"},
		"spread, no label":    {pod: web("p", spreadBy("none", 1, corev1.DoNotSchedule)), why: "4 node(s) didn't match pod topology spread constraints (missing required label)."},
		"spread, few domains": {on: at{"a": web("w"), "c": web("v")}, pod: web("p", spreadBy(zone, 1, corev1.DoNotSchedule, domains(3))), why: "1 node(s) didn't match pod topology spread constraints (missing required label), 3 node(s) didn't match pod topology spread constraints."},
		"spread, even":        {on: at{"a": web("w"), "c": web("v")}, pod: web("p", spreadBy(zone, 1, corev1.DoNotSchedule)), fits: "abc"},
		"spread, preferred":   {on: at{"a": web("w")}, pod: web("p", spreadBy(zone, 1, corev1.ScheduleAnyway)), fits: "abcd"},
		"spread, nodes counted that it may use": {
			on:  at{"a": web("w")},
			pod: web("p", spreadBy(zone, 1, corev1.DoNotSchedule), needsNode(where(zone, corev1.NodeSelectorOpIn, "x"))), fits: "ab",
		},
		"spread, all nodes counted": {
			on: at{"a": web("w")},
			pod: web("p", needsNode(where(zone, corev1.NodeSelectorOpIn, "x")), spreadBy(zone, 1, corev1.DoNotSchedule, func(c *corev1.TopologySpreadConstraint) {
				c.NodeAffinityPolicy = ptr.To(corev1.NodeInclusionPolicyIgnore)
			})),
			why: "2 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod topology spread constraints.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := three()
			s.SetNamespace("other", map[string]string{"team": "blue"})
			for node, p := range tc.on {
				s.SetPod(p, node)
			}
			got := ""
			for _, n := range []string{"a", "b", "c", "d"} {
				if Fits(tc.pod, s, n) {
					got += n
				}
			}
			if got != tc.fits {
				t.Errorf("fits %q, want %q", got, tc.fits)
			}
			_, err := Schedule(tc.pod, s)
			if want := "0/4 nodes are available: " + tc.why; tc.why != "" && fmt.Sprint(err) != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func domains(n int32) func(*corev1.TopologySpreadConstraint) {
	return func(c *corev1.TopologySpreadConstraint) { c.MinDomains = &n }
}

func namespacesOf(names ...string) podOption {
	return func(p *corev1.Pod) {
		affinityOf(p).PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].Namespaces = names
	}
}

func namespacesWith(pairs ...string) podOption {
	return func(p *corev1.Pod) {
		s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			s.MatchLabels[pairs[i]] = pairs[i+1]
		}
		affinityOf(p).PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].NamespaceSelector = s
	}
}

func TestWherePodsWouldRatherBe(t *testing.T) {
	preferNode := func(p *corev1.Pod) {
		affinityOf(p).NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.PreferredSchedulingTerm{
			{Weight: 10, Preference: where(zone, corev1.NodeSelectorOpIn, "y")},
		}
	}
	for name, tc := range map[string]struct {
		on   map[string]*corev1.Pod
		pod  *corev1.Pod
		want string
	}{
		"a zone":                {pod: testPod("p", preferNode), want: "c"},
		"beside":                {on: map[string]*corev1.Pod{"b": web("w")}, pod: testPod("p", rather(5, "web", corev1.LabelHostname)), want: "b"},
		"apart":                 {on: map[string]*corev1.Pod{"a": web("w"), "c": web("v")}, pod: testPod("p", rather(-5, "web", zone)), want: "d"},
		"others like it":        {on: map[string]*corev1.Pod{"c": testPod("w", rather(5, "web", corev1.LabelHostname))}, pod: web("p"), want: "c"},
		"others need it":        {on: map[string]*corev1.Pod{"c": web("w", near("web", corev1.LabelHostname))}, pod: web("p"), want: "c"},
		"where there are few":   {on: map[string]*corev1.Pod{"a": web("w")}, pod: web("p", spreadBy(zone, 1, corev1.ScheduleAnyway)), want: "c"},
		"more than the emptier": {on: map[string]*corev1.Pod{"c": testPod("w", asks("cpu", "1"))}, pod: testPod("p", preferNode), want: "c"},
	} {
		t.Run(name, func(t *testing.T) {
			s := three()
			for node, p := range tc.on {
				s.SetPod(p, node)
			}
			res, err := Schedule(tc.pod, s)
			if err != nil || res.Node != tc.want || res.Feasible != 4 {
				t.Errorf("got %+v %v, want %s", res, err, tc.want)
			}
		})
	}
}

func TestNumericTolerations(t *testing.T) {
	with := func(value string) nodeOption {
		return func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "level", Value: value, Effect: corev1.TaintEffectNoSchedule}}
		}
	}
	p := testPod("p", func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "level", Operator: corev1.TolerationOpGt, Value: "5"}}
	})
	s := snapshotOf(testNode("low", with("3")), testNode("high", with("7")))
	if Fits(p, s, "low") || !Fits(p, s, "high") {
		t.Errorf("low %v, high %v", Fits(p, s, "low"), Fits(p, s, "high"))
	}
}

// Whatever comes and goes: required terms and constraints hold at the moment a
// pod is placed, worked out the long way.
func TestPlacesKeepTheRules(t *testing.T) {
	keys := []string{corev1.LabelHostname, zone}
	apps := []string{"web", "db"}
	rapid.Check(t, func(t *rapid.T) {
		s := three()
		where := map[string]*corev1.Node{}
		for _, n := range s.known {
			where[n.name] = n.node
		}
		on := map[types.UID]string{}
		pods := map[types.UID]*corev1.Pod{}
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"place": func(t *rapid.T) {
				number++
				p := testPod(fmt.Sprintf("p%d", number), labelled("app", rapid.SampledFrom(apps).Draw(t, "app")))
				opt := []func(string, string) podOption{near, farFrom}
				for range rapid.IntRange(0, 2).Draw(t, "terms") {
					rapid.SampledFrom(opt).Draw(t, "kind")(rapid.SampledFrom(apps).Draw(t, "about"), rapid.SampledFrom(keys).Draw(t, "key"))(p)
				}
				res, err := Schedule(p, s)
				for name := range where {
					allowed := allows(where, on, pods, p, name)
					if allowed != Fits(p, s, name) {
						t.Fatalf("node %s: allowed is %v", name, allowed)
					}
					if allowed && err != nil && len(s.nodes[name].on) < 10 {
						t.Fatalf("refused %v, allowed on %s", err, name)
					}
				}
				if err == nil {
					s.SetPod(p, res.Node)
					on[p.UID], pods[p.UID] = res.Node, p
				}
			},
			"remove": func(t *rapid.T) {
				uid := types.UID(fmt.Sprintf("p%d", rapid.IntRange(0, 20).Draw(t, "gone")))
				s.RemovePod(uid)
				delete(on, uid)
				delete(pods, uid)
			},
		})
		if len(s.opinionated) > len(on) {
			t.Fatalf("%d pods with opinions of %d", len(s.opinionated), len(on))
		}
	})
}

// allows is the definition of affinity, without any counting.
func allows(where map[string]*corev1.Node, on map[types.UID]string, pods map[types.UID]*corev1.Pod, p *corev1.Pod, name string) bool {
	together := func(other types.UID, key string) bool {
		a, ok := where[name].Labels[key]
		b, has := where[on[other]].Labels[key]
		return ok && has && a == b
	}
	is := func(t corev1.PodAffinityTerm, q *corev1.Pod) bool {
		return t.LabelSelector.MatchLabels["app"] == q.Labels["app"]
	}
	here := 0
	for uid, q := range pods {
		if on[uid] == name {
			here++
		}
		if q.Spec.Affinity == nil {
			continue
		}
		for _, t := range q.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if is(t, p) && together(uid, t.TopologyKey) {
				return false
			}
		}
	}
	if here >= 10 {
		return false
	}
	if p.Spec.Affinity == nil {
		return true
	}
	for _, t := range p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		for uid, q := range pods {
			if is(t, q) && together(uid, t.TopologyKey) {
				return false
			}
		}
	}
	terms := p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	all := func(q *corev1.Pod) bool {
		for _, t := range terms {
			if !is(t, q) {
				return false
			}
		}
		return len(terms) > 0
	}
	anywhere, satisfied := false, true
	for _, t := range terms {
		if _, ok := where[name].Labels[t.TopologyKey]; !ok {
			return false
		}
		found := false
		for uid, q := range pods {
			_, has := where[on[uid]].Labels[t.TopologyKey]
			anywhere = anywhere || all(q) && has
			found = found || all(q) && together(uid, t.TopologyKey)
		}
		satisfied = satisfied && found
	}
	return satisfied || !anywhere && all(p)
}
