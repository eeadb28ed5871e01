package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func (r Runner) grpcProbe(ctx context.Context, a *corev1.GRPCAction, t Target, timeout time.Duration) Result {
	addr, err := address("", intstr.FromInt32(a.Port), t)
	if err != nil {
		return Result{Unknown, err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	creds := insecure.NewCredentials()
	if a.Mode != nil && *a.Mode == corev1.GRPCProbeModeTLS {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a container has no certificate the node could know
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(r.UserAgent), grpc.WithNoProxy())
	if err != nil {
		return Result{Unknown, err.Error()}
	}
	defer func() { _ = conn.Close() }()
	if err := connected(ctx, conn); err != nil {
		return Result{Failure, fmt.Sprintf("timeout: failed to connect service %q within %v: %v", addr, timeout, err)}
	}
	service := ""
	if a.Service != nil {
		service = *a.Service
	}
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return Result{Failure, fmt.Sprintf("error: this server does not implement the grpc health protocol "+
			"(grpc.health.v1.Health): %s", status.Convert(err).Message())}
	case codes.DeadlineExceeded:
		return Result{Failure, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)}
	default:
		return Result{Failure, fmt.Sprintf("error: health rpc probe failed: %v", err)}
	}
	if s := resp.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return Result{Failure, fmt.Sprintf("service unhealthy (responded with %q)", s.String())}
	}
	return Result{Success, "service healthy"}
}

// connected waits for the connection as long as ctx lasts.
func connected(ctx context.Context, conn *grpc.ClientConn) error {
	for {
		s := conn.GetState()
		if s == connectivity.Ready {
			return nil
		}
		if s == connectivity.Idle {
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, s) {
			return ctx.Err()
		}
	}
}
