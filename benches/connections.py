#!/usr/bin/env python3
"""Connections that reach one another: broadcast beside tokio and Go, WebSocket beside tokio, a forwarder beside HAProxy,
a wake beside C.

Every row runs its contestants in turn, for several rounds; ratios are taken within a round, the report shows medians.
Standard library only; needs a C compiler. cargo builds the servers on tokio, and go the one in Go
(`benches/contestants/`). Without what cargo fetches for them, without Go (`apt-get install golang-go`) or without
HAProxy, their rows are missing.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import measure
from contestants import free_port, wait_until_it_accepts
from rows import Row, options_of, publish, run

CONTESTANTS = Path(__file__).parent / "contestants"
# Messages of a broadcast that may be under way at a time.
WINDOW = 4
IDLE_PAIRS = 1000
WAKES, WAKE_PAUSE_US = 5000, 200

# As fast as an administrator would make it: two threads for two cores, and splice where HAProxy finds it worthwhile.
HAPROXY = """
global
    nbthread 2
    maxconn 5000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1000s
    timeout server 1000s
    option splice-auto
listen forward
    bind 127.0.0.1:{port} backlog 1024
    server upstream 127.0.0.1:{upstream}
"""


class Bench:
    """Where the programs are, and how long to take."""

    def __init__(self, options, folder):
        self.options, self.folder, self.examples = options, Path(folder), Path(options.examples)
        measure.compile_baseline(self.folder, "crowd", "bulk", "wake", "epoll_echo")
        self.tokio = build_contestants(Path(options.contestants or self.examples.parent.parent / "contestants"))
        self.go = build_in_go(self.folder / "go-contestant")

    def ours(self, name, *arguments):
        return measure.Server("ours", [str(self.examples / name), *arguments])

    def on_tokio(self, name, mode, gathering=False):
        """The servers on tokio; none if cargo could not build them."""
        if self.tokio:
            yield name, measure.Server(name, [str(self.tokio), mode])
        if self.tokio and gathering:
            name = f"{name}, gathering"
            yield name, measure.Server(name, [str(self.tokio), mode, "gathering"])

    def in_go(self):
        """The server in Go; none if there is no Go."""
        if self.go:
            yield "go", measure.Server("go", [str(self.go)])

    def program(self, name, *arguments):
        return measure.Server(name, [str(self.folder / name), *arguments])

    def json(self, *command):
        return json.loads(subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout)

    def crowd(self, server, mode, path, clients, window=1):
        """Messages a second and CPU µs each, without those of the connects."""
        command = [str(self.folder / "crowd"), mode, path, *map(str, (server.port, clients, self.options.seconds, window))]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            if load.stdout.readline() != "ready\n":
                raise SystemExit(f"{server.name}: the load could not connect")
            before = server.cpu_seconds()
            load.stdin.write("\n")
            load.stdin.flush()
            result = json.loads(load.stdout.readline())
            cpu = server.cpu_seconds() - before
            rss = server.rss_kib()
        return {
            "per_s": result["messages"] / result["seconds"], "cpu_us": cpu * 1e6 / max(result["messages"], 1),
            "rss_mib": rss / 1024, "lost": result["lost"],
        }


def build_contestants(target):
    command = ["cargo", "build", "--release", "--manifest-path", str(CONTESTANTS / "Cargo.toml"), "--target-dir", str(target)]
    measure.say("cargo builds the servers on tokio")
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
        measure.say("cargo could not build them: their rows are missing")
        return None
    return target / "release" / "tokio-contestant"


def build_in_go(program):
    if not shutil.which("go"):
        measure.say("there is no Go: its rows are missing")
        return None
    subprocess.run(["go", "build", "-o", str(program), str(CONTESTANTS / "broadcast.go")], check=True)
    return program


def broadcast(clients):
    def run(bench):
        others = [*bench.on_tokio("tokio", "broadcast", gathering=True), *bench.in_go()]
        for name, server in [("ours", bench.ours("broadcast")), *others]:
            with server:
                yield name, bench.crowd(server, "broadcast", "tcp", clients, WINDOW)
    return run


def websocket(mode, path, clients, window):
    def run(bench):
        ours = bench.ours("http_service", "127.0.0.1:0")
        gathering = mode == "broadcast"
        for name, server in [("ours", ours), *bench.on_tokio("tokio-tungstenite", "websocket", gathering)]:
            with server:
                yield name, bench.crowd(server, mode, path, clients, window)
    return run


@contextlib.contextmanager
def haproxy(bench, upstream):
    address = ("127.0.0.1", free_port())
    config = bench.folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=address[1], upstream=upstream.port))
    with measure.Server("haproxy", ["haproxy", "-db", "-q", "-f", str(config)], address) as server:
        wait_until_it_accepts(address)
        yield server


def forwarders(bench, upstream):
    """The forwarders, each while it runs."""
    with bench.ours("forwarder", "127.0.0.1:0", f"127.0.0.1:{upstream.port}") as server:
        yield "ours", server
    if shutil.which("haproxy"):
        with haproxy(bench, upstream) as server:
            yield "haproxy", server


def forward_ping(bench):
    with bench.program("epoll_echo") as upstream:
        for name, server in forwarders(bench, upstream):
            yield name, bench.crowd(server, "echo", "tcp", 64)


def forward_bulk(bench):
    with bench.program("bulk", "sink") as upstream:
        for name, server in forwarders(bench, upstream):
            send = lambda mib: bench.json(bench.folder / "bulk", "send", server.port, mib)
            send(64)
            before = server.cpu_seconds()
            result = send(bench.options.mib)
            cpu = server.cpu_seconds() - before
            yield name, {
                "per_s": result["mib"] / 1024 / result["seconds"], "cpu_us": cpu * 1e6 / result["mib"],
                "rss_mib": server.peak_rss_kib() / 1024,
            }


def forward_idle(bench):
    """Pairs that have carried one message and then say nothing."""
    def connect(count):
        connections = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(count)]
        for connection in connections:
            connection.sendall(b"ping")
            connection.recv(4)
        return connections
    with bench.program("epoll_echo") as upstream:
        for name, server in forwarders(bench, upstream):
            idle = connect(200)
            time.sleep(0.5)
            kib, threads = server.rss_kib(), server.threads()
            idle += connect(IDLE_PAIRS)
            time.sleep(1)
            yield name, {
                "per_s": (server.rss_kib() - kib) / IDLE_PAIRS, "rss_mib": server.rss_kib() / 1024,
                "threads": server.threads() - threads,
            }
            for connection in idle:
                connection.close()


def wake(figure):
    def run(bench):
        for name, program in [("ours", bench.examples / "wake"), ("eventfd and epoll in C", bench.folder / "wake")]:
            yield name, {"per_s": bench.json(program, WAKES, WAKE_PAUSE_US)[figure]}
    return run


FASTER = lambda *names: [(name, "per_s", ">=", 1.2) for name in names]
LIGHTER = lambda *names: [(name, "cpu_us", "<=", 0.8) for name in names]
TOKIO, TUNGSTENITE = ("tokio", "tokio, gathering"), ("tokio-tungstenite", "tokio-tungstenite, gathering")
ROWS = {
    "broadcast-1000": Row("broadcast of 64 bytes to 1,000 connections", "messages/s", broadcast(1000),
                          *FASTER(*TOKIO), *LIGHTER(*TOKIO)),
    "broadcast-10000": Row("broadcast of 64 bytes to 10,000 connections", "messages/s", broadcast(10_000),
                           *FASTER(*TOKIO), *LIGHTER(*TOKIO)),
    "forward-ping": Row("forwarder, 64 bytes ping-pong, 64 connections", "messages/s", forward_ping, ("haproxy", "per_s", ">=", 1)),
    "forward-bulk": Row("forwarder, {mib} MiB over one connection; CPU of each MiB", "GiB/s", forward_bulk, ("haproxy", "per_s", ">=", 1)),
    "forward-idle": Row(f"forwarder, memory of an idle pair, {IDLE_PAIRS:,} of them", "KiB/pair", forward_idle,
                        (None, "per_s", "<=", 3), (None, "threads", "<=", 0), speed="memory"),
    "ws-echo": Row("WebSocket echo of 64 bytes, 64 connections", "messages/s", websocket("echo", "/echo", 64, 1), *FASTER("tokio-tungstenite")),
    "ws-push": Row("WebSocket push of 64 bytes to 1,000 connections", "messages/s", websocket("broadcast", "/chat", 1000, WINDOW),
                   *FASTER(*TUNGSTENITE)),
    "wake": Row("a wake from another thread to `handle`, median", "µs", wake("median_us"),
                ("eventfd and epoll in C", "per_s", "<=", 2), speed="time"),
    "wake-p99": Row("a wake from another thread to `handle`, p99", "µs", wake("p99_us"),
                    ("eventfd and epoll in C", "per_s", "<=", 2), speed="time"),
}


def main():
    parser = options_of(ROWS, __doc__)
    parser.add_argument("--examples", default="target/dist/examples", metavar="FOLDER", help="our example programs")
    parser.add_argument("--contestants", metavar="FOLDER", help="where cargo builds the others (default: contestants beside dist)")
    parser.add_argument("--mib", type=int, default=8192, help="what the row of bulk sends (default: %(default)s)")
    options = parser.parse_args()
    measure.raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as folder:
        results = run(ROWS, Bench(options, folder), options)
    versions = [
        measure.first_line("haproxy", "-v") if shutil.which("haproxy") else "no haproxy",
        measure.first_line("go", "version") if shutil.which("go") else "no Go",
        f"at most {WINDOW} broadcasts under way",
    ]
    publish("connections", versions, ROWS, results, options)


if __name__ == "__main__":
    main()
