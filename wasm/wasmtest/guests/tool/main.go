// Command tool is a guest that does what its first argument says.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

var commands = map[string]func(args []string){
	"print":    func(args []string) { fmt.Println(strings.Join(args, " ")) },
	"complain": func(args []string) { fmt.Fprintln(os.Stderr, strings.Join(args, " ")) },
	"exit":     exit,
	"cat":      func([]string) { io.Copy(os.Stdout, os.Stdin) },
	"env":      func(args []string) { fmt.Println(os.Getenv(args[0])) },
	"read":     read,
	"write":    func(args []string) { check(os.WriteFile(args[0], []byte(args[1]), 0o600)) },
	"spin":     func([]string) { fmt.Println("spinning"); spin() },
	"sleep":    sleep,
	"eat":      func([]string) { eat() },
	"panic":    func([]string) { panic("at the guest's request") },
	"serve":    serve,
	"flood":    func([]string) { flood() },
	"open":     open,
	"cgi":      func([]string) { cgi(os.Getenv("PATH_INFO")) },
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "tool: what to do?", os.Args)
		os.Exit(2)
	}
	commands[os.Args[1]](os.Args[2:])
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func exit(args []string) {
	code, err := strconv.Atoi(args[0])
	check(err)
	os.Exit(code)
}

func read(args []string) {
	data, err := os.ReadFile(args[0])
	check(err)
	os.Stdout.Write(data)
}

//go:noinline
func spin() {
	for n := 0; ; n++ {
		if n < 0 {
			runtime.Gosched()
		}
	}
}

func sleep(args []string) {
	d, err := time.ParseDuration(args[0])
	check(err)
	fmt.Println("sleeping")
	time.Sleep(d)
}

var eaten [][]byte

func eat() {
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		eaten = append(eaten, b)
	}
}

// serve greets on the listener at descriptor 3, or at the argument, until accepting fails.
func serve(args []string) {
	fd := 3
	if len(args) > 0 {
		fd, _ = strconv.Atoi(args[0])
	}
	l, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	check(err)
	fmt.Println("serving")
	for {
		var conn net.Conn
		if conn, err = l.Accept(); err != nil {
			break
		}
		go answer(conn)
	}
	fmt.Println("served:", err)
}

// answer greets everybody who says a name.
func answer(conn net.Conn) {
	defer conn.Close()
	names := bufio.NewScanner(conn)
	for names.Scan() {
		fmt.Fprintln(conn, "hello", names.Text())
	}
}

// flood prints without end.
func flood() {
	line := []byte(strings.Repeat("x", 4095) + "\n")
	for {
		os.Stdout.Write(line)
	}
}

var opened []*os.File

// open opens a file again and again until it cannot, and says why.
func open(args []string) {
	for {
		f, err := os.Open(args[0])
		if err != nil {
			fmt.Println(len(opened), err)
			return
		}
		opened = append(opened, f)
	}
}

// cgi answers a request as a CGI program, in the way that the path says.
func cgi(path string) {
	fmt.Fprintln(os.Stderr, "asked for", path)
	if path == "/bad" {
		fmt.Println("this is no header")
		return
	}
	if path == "/found" {
		fmt.Print("Location: /there\n\n")
		return
	}
	if path == "/silent" {
		spin()
	}
	fmt.Print("Status: 201 Created\r\nContent-Type: text/plain\r\nConnection: close\r\nX-Own: yes\r\n\r\n")
	switch path {
	case "/env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "/echo":
		io.Copy(os.Stdout, os.Stdin)
	case "/stream": // a line for each one that comes
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			fmt.Println("got", lines.Text())
		}
	case "/half":
		fmt.Println("half")
		spin()
	}
}
