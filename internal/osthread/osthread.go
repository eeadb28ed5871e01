// Package osthread runs code on operating system threads that nobody else comes
// to use, for what the kernel changes a thread at a time: namespaces, IDs.
package osthread

import (
	"os"
	"runtime"
	"syscall"
)

// Throwaway runs f on a thread that ends with it, and returns what f does.
func Throwaway(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() == os.Getpid() {
			// The main thread cannot end; it would stay as f leaves it, and
			// /proc/self with it. While it is held here, the other goroutine
			// gets another one.
			result <- Throwaway(f)
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the runtime then ends the thread.
		result <- f()
	}()
	return <-result
}

// Kept runs f on one thread that stays for as long. The kernel ends some
// processes, those with a parent death signal, with the thread that started
// them, which would else be free to be thrown away.
func Kept(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return f()
}
