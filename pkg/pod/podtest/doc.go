// Package podtest helps to test what builds on package pod.
//
// It has fakes of the parts that pod declares, with faults to be scripted and
// time to be chosen; a suite that the fake and every real runtime must pass;
// and a simulator that carries the steps of pod.Plan out in memory. It must
// not know containerd, CNI or the agent.
package podtest
