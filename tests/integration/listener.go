// A server like most Go programs: it removes the path and listens there, with system calls that bypass
// libc.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
)

func main() {
	path := os.Args[1]
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		fmt.Println(err)
		os.Exit(1)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	go func() {
		<-stop
		listener.Close() // also removes the path
		os.Exit(0)
	}()
	fmt.Println("ready")
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(connection, os.Getpid())
		connection.Close()
	}
}
