#!/usr/bin/env python3
"""What `serve http` does besides sending files: listings, uploads and compression.

Every row runs its contestants in turn, for several rounds; ratios are taken within a round, the report shows medians.
Standard library only; needs wrk. dufs and miniserve take part if they are on PATH: `cargo install dufs miniserve`.
"""

import os
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

import measure
from compare import wrk
from contestants import free_port, wait_until_it_accepts
from rows import Row, options_of, publish, run, timed
from services import MIB, Bench, large_file, send_upload

ENTRIES = 10_000
SOME_ANSWERS = 5  # seconds, in which the slowest gives some
PAGE = 100 << 10  # bytes
SMALL_RSS = (None, "rss_mib", "<=", 64)
OTHERS = {
    "dufs": lambda folder, port: ["dufs", "--bind", "127.0.0.1", "--port", str(port), "--log-format", "", str(folder)],
    "miniserve": lambda folder, port: ["miniserve", "--interfaces", "127.0.0.1", "--port", str(port), str(folder)],
}


def folder_of_entries(bench):
    folder = bench.folder / "entries"
    if not folder.exists():
        folder.mkdir()
        for number in range(ENTRIES):
            (folder / f"entry number {number}.txt").write_bytes(b"x" * (number % 1000))
    return folder


def listers(bench):
    """Servers of the folder with many entries, ours first."""
    folder = folder_of_entries(bench)
    yield "ours", bench.ours("http", folder)
    for name, command in OTHERS.items():
        if shutil.which(name):
            address = ("127.0.0.1", free_port())
            server = measure.Server(name, command(folder, address[1]), address)
            wait_until_it_accepts(address)
            yield name, server


def requests(server, path, connections, seconds, headers=()):
    """Answers a second to wrk, and what they cost."""
    wrk(server, path, connections, seconds, headers)  # caches and pools fill
    before = server.cpu_seconds()
    result = wrk(server, path, connections, seconds, headers)
    cpu = server.cpu_seconds() - before
    return {
        "per_s": result["requests"] / result["seconds"],
        "cpu_us": cpu * 1e6 / result["requests"],
        "rss_mib": server.peak_rss_kib() / 1024,
        "lost": result["errors"],
    }


def listing(bench):
    for name, server in listers(bench):
        with server:
            yield name, requests(server, "", 4, max(bench.options.seconds, SOME_ANSWERS))


def first_and_last_byte(port):
    """Milliseconds until the first and the last byte of a listing's body, of the best of some requests: the others were disturbed."""
    best = [float("inf")] * 2
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            begun = time.perf_counter()
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            head = connection.makefile("rb", buffering=0)
            while head.readline().strip():
                pass
            connection.recv(1)
            first = time.perf_counter() - begun
            while connection.recv(65536):
                pass
            best = [min(pair) for pair in zip(best, (first * 1e3, (time.perf_counter() - begun) * 1e3))]
    return best


def first_byte(bench):
    for name, server in listers(bench):
        with server:
            first, last = first_and_last_byte(server.port)
            yield name, {"per_s": first, "rss_mib": server.peak_rss_kib() / 1024}
            yield f"{name}, last byte", {"per_s": last}


def put(port, source, name, at_once=lambda: None):
    """Stores a file by PUT; `at_once` is called when the server waits for the body's rest."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection, open(source, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        connection.sendall(f"PUT /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + file.read(1000))
        at_once()
        connection.sendfile(file, 1000)
        status = connection.makefile("rb").readline().split()[1]
        if status not in (b"201", b"204"):
            raise RuntimeError(f"PUT: {status.decode()}")


def put_large(bench):
    source, rate = large_file(bench), bench.options.mib / 1024
    folder = bench.folder / "uploads"
    folder.mkdir()
    with bench.ours("http", folder, "--upload", "--no-fsync") as server:
        yield "ours", timed(lambda: put(server.port, source, "large"), rate, server)
    shutil.rmtree(folder)
    with bench.ours("upload", folder, "--no-fsync", "--on-duplicate", "overwrite") as server:
        yield "upload service", timed(lambda: send_upload(server.port, source, {}), rate, server)
    shutil.rmtree(folder)


def compressed(bench):
    """A page that is asked for again and again, compressed and plain."""
    folder = bench.folder / "pages"
    if not folder.exists():
        folder.mkdir()
        words = [f"word{number * 7919 % 5003}" for number in range(PAGE)]
        (folder / "page.html").write_bytes(" ".join(words).encode()[:PAGE])
    with bench.ours("http", folder) as server:
        yield "ours", requests(server, "page.html", 64, bench.options.seconds, ["Accept-Encoding: gzip"])
        yield "identity", requests(server, "page.html", 64, bench.options.seconds)


def many_uploads(bench):
    """Uploads that are all under way before the first may end. They replace each other: no more of them is kept than is sent."""
    count, mib = bench.options.uploads, bench.options.upload_mib
    source, folder = bench.folder / "piece", bench.folder / "uploads"
    source.write_bytes(os.urandom(MIB) * mib)
    folder.mkdir()
    begun, failed = threading.Barrier(count), []

    def send():
        try:
            put(server.port, source, "same", lambda: begun.wait(60))
        except Exception as error:
            failed.append(error)
            begun.abort()

    def send_all():
        senders = [threading.Thread(target=send) for _ in range(count)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    with bench.ours("http", folder, "--upload", "--no-fsync", "--on-duplicate", "overwrite") as server:
        figures = timed(send_all, count * mib / 1024, server)
    shutil.rmtree(folder)
    if failed:
        raise failed[0]
    yield "ours", figures


ROWS = {
    "listing": Row(f"listing of {ENTRIES:,} entries, 4 connections", "answers/s", listing,
                   ("dufs", "per_s", ">=", 3), ("miniserve", "per_s", ">=", 3), SMALL_RSS),
    "first-byte": Row("first byte of that listing", "ms", first_byte, ("ours, last byte", "per_s", "<=", 0.5), SMALL_RSS, speed="time"),
    "put": Row("PUT of {mib} MiB", "GiB/s", put_large, ("upload service", "per_s", ">=", 0.85), SMALL_RSS),
    "gzip": Row("a page of 100 KiB, gzip on the fly, 64 connections", "answers/s", compressed, ("identity", "per_s", ">=", 0.8), SMALL_RSS),
    "uploads": Row("{uploads} PUTs of {upload_mib} MiB at once", "GiB/s", many_uploads, SMALL_RSS),
}


def main():
    parser = options_of(ROWS, __doc__)
    parser.set_defaults(rounds=None, seconds=None)  # 3, with --quick 1
    parser.add_argument("--ours", default="target/dist/socketserver", metavar="PROGRAM", help="our binary")
    parser.add_argument("--quick", action="store_true", help="small files and short runs: to see that it works")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = int(options.seconds or (1 if options.quick else 3))  # wrk takes whole seconds
    options.mib, options.uploads, options.upload_mib = (64, 20, 10) if options.quick else (1024, 100, 100)
    measure.raise_descriptor_limit()
    # Memory if there is enough of it for all the uploads: a disk would be the same for all, and slower than any of them.
    needed = (options.uploads * options.upload_mib + 2 * options.mib) * MIB
    place = "/dev/shm" if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > needed else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        results = run(ROWS, Bench(options, folder, folder), options)
    version = lambda name: measure.first_line(name, "--version") if shutil.which(name) else f"no {name} (cargo install {name})"
    publish("files", [version(name) for name in OTHERS], ROWS, results, options)


if __name__ == "__main__":
    main()
