package crash

import (
	"os/exec"
	"testing"
)

func dump(t *testing.T, dir string) {
	if !t.Failed() {
		return
	}
	out, _ := exec.Command("sh", "-c", "rm -rf /tmp/crash/dump; mkdir -p /tmp/crash/dump; cp "+dir+"/data/containerd.log /tmp/crash/dump/; ps -eo pid,ppid,lstart,stat,args | grep -E 'shim|runc|sleep' > /tmp/crash/dump/ps; ls -lR "+dir+"/run > /tmp/crash/dump/ls; ls -lR --time-style=full-iso /run/containerd > /tmp/crash/dump/runc; ctr -a "+dir+"/run/containerd/containerd.sock -n carob tasks ls > /tmp/crash/dump/tasks;  ctr -a "+dir+"/run/containerd/containerd.sock -n carob containers ls > /tmp/crash/dump/containers").CombinedOutput()
	t.Logf("%s", out)
}
