#!/usr/bin/env python3
"""The services of the lessons beside Python's own servers, bare loops, and the work that can't be saved.

Every row runs its contestants in turn, for several rounds; ratios are taken within a round, the report shows medians.
Standard library only; needs a C compiler, and rsync for one row.
"""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import measure
from contestants import free_port, wait_until_it_accepts
from rows import Row, options_of, publish, run, timed

MIB = 1 << 20
IDLE = 5_000
SMALL_FILES = 10_000

# Python's servers as their documentation shows them, with our backlog and without Nagle where that would only hurt them.
PYTHON = {
    "echo": """
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536): self.request.sendall(data.upper())
class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 1024
    def handle_error(self, *_): pass
server = Server(("127.0.0.1", 0), Handler)
print(f"python listening on tcp://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
""",
    "ping": """
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        data, socket = self.request
        socket.sendto(data.upper(), self.client_address)
server = socketserver.UDPServer(("127.0.0.1", 0), Handler)
print(f"python listening on udp://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
""",
    "time": """
import datetime, socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(str(datetime.datetime.now()).encode())
class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 1024
    def handle_error(self, *_): pass
server = Server(("127.0.0.1", 0), Handler)
print(f"python listening on tcp://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
""",
}


class Bench:
    """Where things are, and how long to take."""

    def __init__(self, options, folder, disk):
        self.options, self.folder, self.disk = options, Path(folder), disk
        self.key = self.folder / "key"
        self.key.write_text("benchmark-key\n")

    def ours(self, *arguments):
        command = [self.options.ours, "serve", *map(str, arguments), "--bind", "127.0.0.1:0", "-q"]
        return measure.Server("ours", command)

    def python(self, name):
        return measure.Server("python", [sys.executable, "-c", PYTHON[name]])

    def bare(self, name, *arguments):
        return measure.Server("C loop", [str(self.folder / name), *arguments])

    def client(self, *arguments):
        subprocess.run([self.options.ours, "client", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    def load(self, program, *arguments):
        command = [str(program), *map(str, arguments)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout)

    def messages(self, server, program, mode, count, *rest):
        """Messages a second and CPU µs each, of a server under one of the load programs."""
        self.load(program, mode, server.port, count, 0.5, *rest)
        before = server.cpu_seconds()
        result = self.load(program, mode, server.port, count, self.options.seconds, *rest)
        cpu = server.cpu_seconds() - before
        return {
            "per_s": result["messages"] / result["seconds"],
            "cpu_us": cpu * 1e6 / max(result["messages"], 1),
            "rss_mib": server.rss_kib() / 1024,
            "lost": result["lost"],
        }


@contextlib.contextmanager
def idle_connections(port, count):
    """So many connections that say nothing."""
    connections = []
    try:
        for number in range(count):
            connection = socket.socket()
            connections.append(connection)
            connection.bind((f"127.0.0.{2 + number // 5000}", 0))
            connection.connect(("127.0.0.1", port))
        yield
    finally:
        for connection in connections:
            connection.close()


def echo(bench):
    load = bench.folder / "load"
    servers = [("ours", bench.ours("echo", "--upper")), ("python", bench.python("echo")), ("C loop", bench.bare("epoll_echo"))]
    for name, server in servers:
        with server:
            yield name, bench.messages(server, load, "tcp", 64)


def echo_beside_idle(bench):
    with bench.ours("echo", "--upper") as server:
        yield "alone", bench.messages(server, bench.folder / "load", "tcp", 64)
        with idle_connections(server.port, IDLE):
            yield "ours", bench.messages(server, bench.folder / "load", "tcp", 64)


def ping(bench):
    for name, server in [("ours", bench.ours("ping")), ("python", bench.python("ping")), ("C loop", bench.bare("udp_echo"))]:
        with server:
            yield name, bench.messages(server, bench.folder / "load", "udp", 64)


def clock(bench):
    for name, server in [("ours", bench.ours("time")), ("python", bench.python("time"))]:
        with server:
            yield name, bench.messages(server, bench.options.connects, "read", 32)


def auth(bench):
    with bench.ours("auth", "--key-file", bench.key) as server:
        yield "ours", bench.messages(server, bench.options.connects, "auth", 32, "benchmark-key")
    with bench.ours("time") as server:
        yield "time", bench.messages(server, bench.options.connects, "read", 32)
    # Two round trips instead of one, and no cryptography: what is left to the authentication itself.
    with bench.bare("epoll_echo", "challenge") as server:
        yield "C loop", bench.messages(server, bench.options.connects, "auth", 32, "benchmark-key")


def bare_copy(source, target):
    """A file over a socket into a file, by the largest pieces: what nobody can save."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def send():
            with socket.create_connection(listener.getsockname()) as connection, open(source, "rb") as file:
                connection.sendfile(file)
        sender = threading.Thread(target=send)
        sender.start()
        connection, _ = listener.accept()
        buffer = memoryview(bytearray(MIB))
        with connection, open(target, "wb", buffering=0) as file:
            while count := connection.recv_into(buffer):
                file.write(buffer[:count])
        sender.join()
    os.remove(target)


def large_file(bench):
    """Random bytes, made once; in memory, so that no disk is measured."""
    path = bench.folder / "large"
    if not path.exists():
        piece = os.urandom(MIB)
        with open(path, "wb") as file:
            for _ in range(bench.options.mib):
                file.write(piece)
    return path


def upload(bench, *digests):
    source, folder = large_file(bench), bench.folder / "uploads"
    rate = bench.options.mib / 1024
    with bench.ours("upload", folder, "--no-fsync", "--on-duplicate", "overwrite") as server:
        run = lambda: bench.client("upload", *digests, f"127.0.0.1:{server.port}", source)
        yield "ours", timed(run, rate, server)
    shutil.rmtree(folder)


def upload_plain(bench):
    yield from upload(bench, "--no-digest")
    yield "bare socket", timed(lambda: bare_copy(large_file(bench), bench.folder / "copy"), bench.options.mib / 1024)


def upload_digests(bench):
    source, rate = large_file(bench), bench.options.mib / 1024
    digests = {}
    for name in ("md5", "sha256"):
        def run(name=name):
            with open(source, "rb") as file:
                digests[name] = hashlib.file_digest(file, name).hexdigest()
        yield f"{name} alone", timed(run, rate)
    # Whoever sends must know the digests before the first byte, so our client reads the file twice; the server
    # digests while it receives. The first figure is the server's, the second that of both.
    folder = bench.folder / "uploads"
    with bench.ours("upload", folder, "--no-fsync", "--on-duplicate", "overwrite") as server:
        yield "ours", timed(lambda: send_upload(server.port, source, digests), rate, server)
    shutil.rmtree(folder)
    for name, figures in upload(bench, "--md5", "--sha256"):
        yield f"{name}, with our client's first reading", figures


def send_upload(port, path, digests):
    """Sends a file whose digests are known."""
    header = json.dumps({"file_size": path.stat().st_size, "file_name": path.name, **digests}).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection, open(path, "rb") as file:
        connection.sendall(struct.pack("<i", len(header)) + header)
        connection.sendfile(file)
        answer = connection.makefile("rb")
        length, = struct.unpack("<i", answer.read(4))
        if json.loads(answer.read(length))["status"] != "ok":
            raise RuntimeError("the upload was refused")


def transfer(bench):
    source, folder = large_file(bench), bench.folder / "fetched"
    folder.mkdir(exist_ok=True)
    with bench.ours("transfer", source) as server:
        run = lambda: bench.client("transfer", f"127.0.0.1:{server.port}", "-o", folder, "--force")
        yield "ours", timed(run, bench.options.mib / 1024, server)
    shutil.rmtree(folder)

    def encode():
        with open(source, "rb") as file:
            while piece := file.read(48 * 1024 * 16):
                base64.b64encode(piece)
    yield "base64 alone", timed(encode, bench.options.mib / 1024)
    run = lambda: subprocess.run(["base64", "-w0", source], check=True, stdout=subprocess.DEVNULL)
    yield "base64(1) alone", timed(run, bench.options.mib / 1024)


def small_files(bench):
    source = bench.folder / "small"
    if not source.exists():
        source.mkdir()
        for number in range(SMALL_FILES):
            (source / f"{number}").write_bytes(os.urandom(4096))
    # What fsync costs shows on a disk only. There, nothing is removed before all is measured: ext4 hesitates to use a
    # fresh inode again, and the next round would pay for it.
    disk = Path(tempfile.mkdtemp(dir=bench.disk))
    for name, folder, options in [
        ("ours", bench.folder / "uploads", ["--no-fsync"]), ("ours, disk", disk / "uploads", ["--no-fsync"]), ("ours, disk, fsync", disk / "synced", []),
    ]:
        with bench.ours("upload", folder, "--keep-paths", *options) as server:
            run = lambda: bench.client("upload", "--keep-paths", "--jobs", "4", f"127.0.0.1:{server.port}", source)
            yield name, timed(run, SMALL_FILES, server)
    shutil.rmtree(bench.folder / "uploads")
    if shutil.which("rsync"):
        target, address = bench.folder / "rsynced", ("127.0.0.1", free_port())
        target.mkdir()
        config = bench.folder / "rsyncd.conf"
        # A daemon of root's would write as nobody.
        owner = f"uid = {os.getuid()}\ngid = {os.getgid()}\n"
        config.write_text(f"use chroot = no\n{owner}[to]\npath = {target}\nread only = no\n")
        command = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={address[1]}", "--address=127.0.0.1"]
        with measure.Server("rsync", command, address):
            wait_until_it_accepts(address)
            run = lambda: subprocess.run(["rsync", "-a", f"{source}/", f"rsync://127.0.0.1:{address[1]}/to/"], check=True)
            yield "rsync", timed(run, SMALL_FILES)
        shutil.rmtree(target)


# The CPU goals are those of another machine, put as ratios to the bare loop there: 4.6 µs to 3.1 µs, 2.5 µs to 2.0 µs.
ROWS = {
    "echo": Row("echo `--upper`, 64 bytes, 64 connections", "messages/s", echo, ("C loop", "cpu_us", "<=", 1.48)),
    "echo-idle": Row(f"the same beside {IDLE:,} idle connections", "messages/s", echo_beside_idle, ("alone", "cpu_us", "<=", 1.1)),
    "ping": Row("ping, 64 sockets", "messages/s", ping, ("C loop", "cpu_us", "<=", 1.25)),
    "time": Row("time, connect–read–close, 32 at a time", "connections/s", clock, ("python", "per_s", ">=", 6)),
    "auth": Row("auth, new connections, 32 at a time", "connections/s", auth, ("time", "per_s", ">=", 0.8)),
    "upload": Row("upload of {mib} MiB, no digest", "GiB/s", upload_plain, ("bare socket", "per_s", ">=", 0.85)),
    "upload-digests": Row("upload of {mib} MiB, MD5 and SHA-256", "GiB/s", upload_digests, ("md5 alone", "per_s", ">=", 0.85)),
    "small-files": Row(f"upload of {SMALL_FILES:,} files of 4 KiB, `--jobs 4`", "files/s", small_files, ("rsync", "per_s", ">=", 1)),
    "transfer": Row("transfer of {mib} MiB", "GiB/s", transfer, ("base64(1) alone", "per_s", ">=", 0.7)),
}


def main():
    parser = options_of(ROWS, __doc__)
    parser.add_argument("--ours", default="target/dist/socketserver", metavar="PROGRAM", help="our binary")
    parser.add_argument("--connects", default="target/dist/examples/connects", metavar="PROGRAM", help="the load of connections")
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file (default: %(default)s)")
    options = parser.parse_args()
    measure.raise_descriptor_limit()
    # Memory if there is enough of it: a disk would be the same for all, and slower than any of them.
    place = "/dev/shm" if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 4 * options.mib * MIB else None
    with tempfile.TemporaryDirectory(dir=place) as folder, tempfile.TemporaryDirectory(dir=Path(options.ours).parent) as disk:
        measure.compile_baseline(folder, "epoll_echo", "udp_echo", "load")
        bench = Bench(options, folder, disk)
        results = run(ROWS, bench, options)
    versions = ["Python " + sys.version.split()[0], measure.first_line("rsync", "--version") if shutil.which("rsync") else "no rsync"]
    publish("services", versions, ROWS, results, options)


if __name__ == "__main__":
    main()
