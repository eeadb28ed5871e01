// Package podlog carries the output of containers from their pipes into log
// files, and reads those files back.
//
// A container's output goes through two FIFOs, which its shim keeps open while
// the container runs. A Copier moves what is in them to a file in the format of
// the Kubernetes container runtime interface:
//
//	2026-11-24T02:16:38.123456789Z stdout F content
//
// with P in the place of F for a piece of a line that goes on. The bytes stay in
// the FIFO until they are in the file, so a killed agent loses none of them; see
// Copier for how repeats are avoided as well.
//
// The package knows files and pipes. It knows neither pods nor their states nor
// the runtime: callers say where the FIFOs and the file are, and when an attempt
// has ended.
package podlog
