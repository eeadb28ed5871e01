package credentialprovider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	kubeletv1 "k8s.io/kubelet/config/v1"
	"k8s.io/kubelet/pkg/apis/credentialprovider"
	"k8s.io/kubelet/pkg/apis/credentialprovider/install"

	"github.com/carob-project/carob/internal/killtree"
	"github.com/carob-project/carob/internal/osthread"
)

const (
	// execTimeout is how long a plugin may take, as in Kubernetes.
	execTimeout = time.Minute
	// execDrain is how long the end of its output is waited for once it has
	// ended: something it started may hold it open.
	execDrain = time.Second
	// mostErrors bounds what is told of its standard error.
	mostErrors = 1024
)

var codecs = func() serializer.CodecFactory {
	s := runtime.NewScheme()
	install.Install(s)
	return serializer.NewCodecFactory(s, serializer.EnableStrict)
}()

// ask executes a plugin and returns its answer. It is killed with everything it
// started when ctx ends.
func ask(ctx context.Context, binDir string, p kubeletv1.CredentialProvider, q *credentialprovider.CredentialProviderRequest) (*credentialprovider.CredentialProviderResponse, error) {
	version, err := schema.ParseGroupVersion(p.APIVersion)
	if err != nil {
		return nil, err
	}
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	request, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, version), q)
	if err != nil {
		return nil, fmt.Errorf("error encoding request: %w", err)
	}
	out, err := execute(ctx, filepath.Join(binDir, p.Name), p, request)
	if err != nil {
		return nil, fmt.Errorf("error execing credential provider plugin %s for image %s: %w", p.Name, q.Image, err)
	}
	return decode(out, p.APIVersion)
}

func execute(ctx context.Context, file string, p kubeletv1.CredentialProvider, stdin []byte) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, file, p.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	cmd.Env = os.Environ()
	for _, v := range p.Env {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	// Its session is what it is found by; it does not outlive a killed carob.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = execDrain
	cmd.Cancel = func() error {
		killtree.Kill(cmd.Process.Pid)
		return nil
	}
	err := osthread.Kept(cmd.Run)
	if errors.Is(err, exec.ErrWaitDelay) {
		killtree.Kill(cmd.Process.Pid) // what holds its output
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(errs.Bytes()[:min(errs.Len(), mostErrors)]))
	}
	return out.Bytes(), nil
}

// errAnswer hides what the decoder would quote of an answer.
var errAnswer = errors.New("error decoding credential provider plugin response from stdout")

// decode reads an answer, which has to be of the version of the question.
func decode(data []byte, version string) (*credentialprovider.CredentialProviderResponse, error) {
	kind, err := json.DefaultMetaFactory.Interpret(data)
	if err != nil {
		return nil, errAnswer
	}
	if v := kind.GroupVersion().String(); v != version {
		return nil, fmt.Errorf("apiVersion from credential plugin response did not match expected apiVersion:%s, actual apiVersion:%s", version, v)
	}
	obj, _, err := codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, errAnswer
	}
	answer, ok := obj.(*credentialprovider.CredentialProviderResponse)
	if !ok {
		return nil, fmt.Errorf("failed to decode CredentialProviderResponse, unexpected Kind: %q", kind.Kind)
	}
	return answer, nil
}
