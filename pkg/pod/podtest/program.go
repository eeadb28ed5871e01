package podtest

import (
	"strconv"
	"strings"
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

// Forever is the length of a program that does not end by itself.
const Forever = time.Duration(-1)

// Program is what a fake attempt does once it is started.
type Program struct {
	// Lasts is how long it runs; 0 ends at once.
	Lasts time.Duration
	// Code is its exit code when it ends by itself.
	Code int
	// IgnoresTerm: SIGTERM does nothing, as to a process without a handler
	// that is the first of its PID namespace. Otherwise it ends with
	// TermCode after TermTakes.
	IgnoresTerm bool
	TermCode    int
	TermTakes   time.Duration
	// StartError: it cannot be started at all.
	StartError string
	// OOMKilled is reported with its end.
	OOMKilled bool
	// Stdout and Stderr are written when it starts.
	Stdout, Stderr string
}

// Interpret understands the few busybox commands that the suite and simple
// tests use: true, false, sleep N, sh -c "exit N", sh -c with a TERM trap, and
// echo of words and one variable. Anything else whose path does not look
// absent runs until SIGTERM.
func Interpret(r pod.CreateRequest) Program {
	args := append(append([]string{}, r.Command...), r.Args...)
	if len(args) > 0 && strings.Contains(args[0], "/does/not/exist") {
		return Program{StartError: "exec: " + args[0] + ": no such file or directory"}
	}
	if len(args) > 0 && strings.HasSuffix(args[0], "/busybox") {
		args = args[1:]
	}
	if len(args) == 0 {
		return Program{Lasts: Forever, TermCode: 143}
	}
	switch {
	case args[0] == "true":
		return Program{}
	case args[0] == "false":
		return Program{Code: 1}
	case args[0] == "sleep" && len(args) == 2:
		return sleep(args[1])
	case args[0] == "sh" && len(args) == 3 && args[1] == "-c":
		return script(args[2], r.Env)
	}
	return Program{Lasts: Forever, TermCode: 143}
}

func sleep(arg string) Program {
	seconds, err := strconv.ParseFloat(arg, 64)
	if err != nil {
		return Program{Code: 1, Stderr: "sleep: invalid number\n"}
	}
	return Program{Lasts: time.Duration(seconds * float64(time.Second)), IgnoresTerm: true}
}

// script reads a shell script command by command, and knows only what the
// suite says.
func script(s string, env []pod.EnvVar) Program {
	p := Program{IgnoresTerm: true}
	for cmd := range strings.SplitSeq(s, ";") {
		f := strings.Fields(cmd)
		switch {
		case len(f) == 0:
		case f[0] == "exit" && len(f) == 2:
			p.Code, _ = strconv.Atoi(f[1])
			return p
		case f[0] == "trap" && len(f) == 4:
			p.IgnoresTerm = false
			p.TermCode, _ = strconv.Atoi(strings.Trim(f[2], `"'`))
		case f[0] == "sleep" && len(f) == 2:
			if d := sleep(f[1]); p.Lasts >= 0 {
				p.Lasts += d.Lasts
			}
		case f[0] == "while":
			p.Lasts = Forever
			return p
		case f[0] == "echo":
			echo(&p, f[1:], env)
		}
	}
	return p
}

func echo(p *Program, words []string, env []pod.EnvVar) {
	out := &p.Stdout
	if n := len(words); n > 0 && words[n-1] == ">&2" {
		out, words = &p.Stderr, words[:n-1]
	}
	line := strings.Trim(strings.Join(words, " "), `"'`)
	for _, e := range env {
		line = strings.ReplaceAll(line, "$"+e.Name, e.Value)
	}
	*out += line + "\n"
}
