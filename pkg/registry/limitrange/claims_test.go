package limitrange

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCheckClaim(t *testing.T) {
	const claims = "type: PersistentVolumeClaim, "
	for _, c := range []struct{ limit, size, want string }{
		{claims + "min: {storage: 1Gi}, max: {storage: 2Gi}", "1Gi", ""},
		{claims + "min: {storage: 1Gi}", "500Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"},
		{claims + "max: {storage: 2Gi}", "3Gi", "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"},
		{"type: Container, max: {memory: 1}", "3Gi", ""},
	} {
		l := ranges(t, "{"+c.limit+"}")
		if errs := Validate(l); len(errs) > 0 {
			t.Errorf("%s: %v", c.limit, errs)
		}
		var got []string
		for _, err := range CheckClaim(l, read[corev1.PersistentVolumeClaim](t, "spec: {resources: {requests: {storage: "+c.size+"}}}")) {
			got = append(got, err.Error())
		}
		if all := strings.Join(got, "; "); all != c.want {
			t.Errorf("%s, %s: %q, want %q", c.limit, c.size, all, c.want)
		}
	}
	for limit, want := range map[string]string{
		claims + "max: {}": "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
		claims + "min: {storage: 2Gi}, max: {storage: 1Gi}":     `spec.limits[0].min[storage]: Invalid value: "2Gi": min value 2Gi is greater than max value 1Gi`,
		claims + "max: {storage: 1Gi, cpu: 1}":                  "spec.limits[0].max[cpu]: Forbidden: not supported yet: claims are held to storage alone; leave it out",
		claims + "max: {storage: 1Gi}, default: {storage: 1Gi}": "spec.limits[0].default: Forbidden: not supported yet: nothing acts by it for claims; use min and max",
	} {
		if errs := Validate(ranges(t, "{"+limit+"}")); len(errs) != 1 || errs[0].Error() != want {
			t.Errorf("%s: %v, want %s", limit, errs, want)
		}
	}
}
