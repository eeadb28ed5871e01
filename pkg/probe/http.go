package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const maxRedirects = 10

func (r Runner) httpProbe(ctx context.Context, a *corev1.HTTPGetAction, t Target, timeout time.Duration) Result {
	req, err := r.request(ctx, a, t)
	if err != nil {
		return Result{Unknown, err.Error()}
	}
	resp, err := client(a, timeout).Do(req)
	if err != nil {
		return Result{Failure, err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, outputLimit))
	if err != nil {
		return Result{Failure, err.Error()}
	}
	switch code := resp.StatusCode; {
	case code >= http.StatusOK && code < http.StatusMultipleChoices:
		return Result{Success, string(body)}
	case code >= http.StatusMultipleChoices && code < http.StatusBadRequest:
		return Result{Warning, fmt.Sprintf("Probe terminated redirects, Response body: %v", string(body))}
	default:
		return Result{Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", code)}
	}
}

// request makes the request of a probe or a hook.
func (r Runner) request(ctx context.Context, a *corev1.HTTPGetAction, t Target) (*http.Request, error) {
	host, err := address(a.Host, a.Port, t)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(a.Path)
	if err != nil {
		// What does not parse is sent as it is.
		u = &url.URL{Path: a.Path}
	}
	u.Scheme, u.Host = strings.ToLower(cmp.Or(string(a.Scheme), string(corev1.URISchemeHTTP))), host
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	for _, h := range a.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
	}
	for name, value := range map[string]string{"User-Agent": r.UserAgent, "Accept": "*/*"} {
		if _, said := req.Header[name]; !said {
			req.Header.Set(name, value)
		} else if req.Header.Get(name) == "" && name == "Accept" {
			req.Header.Del(name)
		}
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	return req, nil
}

// client makes one request: nothing of it is kept, no proxy is asked, and no
// certificate is checked, as a container has none that the node could know.
func client(a *corev1.HTTPGetAction, timeout time.Duration) *http.Client {
	protocols := &http.Protocols{}
	if a.Protocol != nil && *a.Protocol == corev1.HTTPProtocolHTTP2 {
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
	}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: sameHost,
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, Protocols: protocols,
			DialContext:     dialer(timeout).DialContext,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		},
	}
}

var errRedirects = errors.New("stopped after 10 redirects")

// sameHost follows redirects within one host only: another one says nothing
// about the container.
func sameHost(req *http.Request, via []*http.Request) error {
	switch {
	case req.URL.Hostname() != via[0].URL.Hostname():
		return http.ErrUseLastResponse
	case len(via) >= maxRedirects:
		return errRedirects
	}
	return nil
}
