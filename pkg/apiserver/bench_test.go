package apiserver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const benchManifest = `
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web, tier: front}}
spec:
  restartPolicy: Always
  initContainers:
    - {name: init, image: 'busybox:1.35', command: [sh, -c, 'echo ready']}
  containers:
    - name: web
      image: busybox:1.35
      command: [httpd, -f]
      env: [{name: A, value: b}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
      ports: [{containerPort: 80, name: http}]
      resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
      readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 5}
      volumeMounts: [{name: data, mountPath: /data}]
    - {name: log, image: 'busybox:1.35', command: [tail, -f, /data/log], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, emptyDir: {}}]
`

// BenchmarkDecode reads a pod as the server does from a request, strictly where
// it is text, in each encoding that clients send.
func BenchmarkDecode(b *testing.B) {
	types, err := newSchemes()
	if err != nil {
		b.Fatal(err)
	}
	pod, _, err := types.codecs.UniversalDecoder(corev1.SchemeGroupVersion).Decode([]byte(benchManifest), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, info := range types.codecs.SupportedMediaTypes() {
		b.Run(info.MediaTypeSubType, func(b *testing.B) {
			s := info.StrictSerializer
			if s == nil {
				s = info.Serializer
			}
			data, err := runtime.Encode(types.codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), pod)
			if err != nil {
				b.Fatal(err)
			}
			decoder := types.codecs.DecoderToVersion(s, corev1.SchemeGroupVersion)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := decoder.Decode(data, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
