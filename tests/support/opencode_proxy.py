#!/usr/bin/env python3
"""Stands between a worker and the real OpenCode, so that a test can cut the event stream and have answers refused. Python
stdlib only.

    opencode_proxy.py REAL_OPENCODE CONTROL_FILE serve --port 0 ...

Starts the real program with the same arguments, and says "listening on" with its own address in place of the real one.
While the file CONTROL_FILE.cut is there, event streams (GET /global/event) are cut, and new ones wait until it is gone.
As many answers to permission requests (POST /permission/../reply) as CONTROL_FILE.refuse says get a 503 and go no further.
CONTROL_FILE gets a line for each event stream that is begun or cut, and for each answer that is refused or passed on.
"""
import ctypes, os, re, select, signal, socket, subprocess, sys, threading, time

REAL, CONTROL, ARGS = sys.argv[1], sys.argv[2], sys.argv[3:]
PR_SET_PDEATHSIG = 1


def note(line):
    with open(CONTROL, "a") as f:
        f.write(line + "\n")


def is_cut():
    return os.path.exists(CONTROL + ".cut")


def is_refused():
    """Whether this answer is refused; counts it."""
    path = CONTROL + ".refuse"
    try:
        with open(path) as f:
            left = int(f.read())
    except OSError:
        left = 0
    if left > 0:
        with open(path, "w") as f:
            f.write(str(left - 1))
    note("refused" if left > 0 else "answered")
    return left > 0


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def close(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def requests(client, server, events):
    """Passes requests on; a connection may carry others before that for events."""
    try:
        while data := client.recv(65536):
            if data.startswith(b"GET /global/event "):
                while is_cut():
                    time.sleep(0.02)
                note("begun")
                events.set()
            if data.startswith(b"POST /permission/") and is_refused():
                client.sendall(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                break
            server.sendall(data)
    except OSError:
        pass
    close(client, server)


def serve(client, port):
    server = socket.create_connection(("127.0.0.1", port))
    events = threading.Event()
    threading.Thread(target=requests, args=(client, server, events), daemon=True).start()
    while not (events.is_set() and is_cut()):
        # The time limit is for waiting only: a half-sent answer would be lost with it.
        if not select.select([server], [], [], 0.02)[0]:
            continue
        try:
            data = server.recv(65536)
            if not data:
                break
            client.sendall(data)
        except OSError:
            break
    if events.is_set():
        note("cut")
    close(server, client)


def accept(listener, port):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, port), daemon=True).start()


child = subprocess.Popen([REAL, *ARGS], stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
for line in child.stdout:
    if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
        threading.Thread(target=accept, args=(listener, int(found[1])), daemon=True).start()
        line = f"opencode server listening on http://127.0.0.1:{listener.getsockname()[1]}\n"
    print(line, end="", flush=True)
sys.exit(child.wait())
