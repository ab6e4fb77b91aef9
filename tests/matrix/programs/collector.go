// A typical server in Go. It removes the path, listens on it and removes it at its end, with system
// calls that bypass libc. It also collects garbage all the time, so that the runtime interrupts its
// threads with signals: calls that the supervisor is executing are interrupted and repeated.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

var kept [64][]byte

func makeGarbage(number int) {
	for i := 0; ; i++ {
		kept[number] = make([]byte, 1<<uint(10+i%8))
		if i%64 == 0 {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}
}

// sd_notify(3), for units of Type=notify.
func notify(state string) {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		connection, err := net.Dial("unixgram", path)
		if err != nil {
			fail(err)
		}
		fmt.Fprint(connection, state)
		connection.Close()
	}
}

func fail(err error) {
	fmt.Println(err)
	os.Exit(1)
}

func answer(connection net.Conn) {
	var request [4096]byte
	name := os.Getenv("INSTANCE")
	connection.Read(request[:])
	fmt.Fprintf(connection, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
	connection.Close()
}

func main() {
	path := os.Args[1]
	debug.SetGCPercent(1)
	makers, err := strconv.Atoi(os.Getenv("GARBAGE"))
	if err != nil {
		makers = 8
	}
	for number := range kept[:makers] {
		go makeGarbage(number)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		fail(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		fail(err)
	}
	os.Chmod(path, 0666)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		listener.Close() // also removes the path
		os.Exit(0)
	}()
	notify("READY=1")
	for {
		connection, err := listener.Accept()
		if err != nil {
			time.Sleep(time.Minute) // until the signal
		}
		go answer(connection)
	}
}
