// pause holds a pod's namespaces open and, where the pod shares its process namespace, reaps what its containers orphan.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
	for received := range signals {
		if received != syscall.SIGCHLD {
			os.Exit(0)
		}
		// several children may have ended for one signal
		for ended := 1; ended > 0; {
			ended, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
	}
}
