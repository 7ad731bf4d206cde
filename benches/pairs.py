#!/usr/bin/env python3
"""Two builds of this project beside each other: is the new one slower than the old one?

Both run at the same time. The load goes to one and then to the other, in turn, for several pairs; a figure is the
median of the ratios within the pairs, so that the machine's mood counts for both. The 95 % interval comes from
resampling the pairs. Standard library only; needs wrk and a C compiler.
"""

import argparse
import random
import re
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import echo
import measure

# A row is worse if its ratio may be below this: 2 % slower.
TOLERANCE = 0.98
IDLE = 8000


def wrk(server, connections, headers, seconds):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *headers, f"http://127.0.0.1:{server.port}/1k.bin"]
    before = server.cpu_seconds()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds + 60).stdout
    requests = int(re.search(r"(\d+) requests in", output)[1])
    return requests / seconds, (server.cpu_seconds() - before) * 1e6 / requests


def echo_load(server, kind, folder, seconds):
    before = server.cpu_seconds()
    result = echo.load(folder, kind, server.port, seconds)
    cpu = server.cpu_seconds() - before
    return result["messages"] / result["seconds"], cpu * 1e6 / result["messages"]


def rows(folder):
    """Name, the command of a build's server, and the load on it."""
    site = Path(folder) / "site"
    site.mkdir()
    (site / "1k.bin").write_bytes(b"x" * 1024)
    http = lambda build: [f"{build}/socketserver", "serve", "http", str(site), "--bind", "127.0.0.1:0"]
    example = lambda kind: lambda build: [f"{build}/examples/{kind}_echo"]
    web = lambda connections, *headers: lambda server, seconds: wrk(server, connections, headers, seconds)
    talk = lambda kind: lambda server, seconds: echo_load(server, kind, folder, seconds)
    return [
        ("GET 1 KiB, keep-alive, 64 connections", http, web(64)),
        ("GET 1 KiB, keep-alive, 1,000 connections", http, web(1000)),
        ("GET 1 KiB, `Connection: close`, 64 connections", http, web(64, "-H", "Connection: close")),
        ("TCP echo, 64 clients", example("tcp"), talk("tcp")),
        ("UDP echo, 64 clients", example("udp"), talk("udp")),
    ]


def pairs_of(command, load, builds, count, seconds):
    """The ratios new : old of the rate, and of the CPU time per message, pair by pair."""
    rates, costs = [], []
    with measure.Server("old", command(builds[0])) as old, measure.Server("new", command(builds[1])) as new:
        for server in (old, new):
            load(server, 1)
        for number in range(count):
            found = {}
            for server in (old, new) if number % 2 else (new, old):
                found[server.name] = load(server, seconds)
            rates.append(found["new"][0] / found["old"][0])
            costs.append(found["new"][1] / found["old"][1])
    return rates, costs


def interval(ratios):
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(4000))
    return medians[100], medians[3899]


def idle_kib(build):
    """Memory of one parked connection."""
    with measure.Server("idle", [f"{build}/socketserver", "serve", "http", ".", "--bind", "127.0.0.1:0"]) as server:
        connect = lambda: socket.create_connection(("127.0.0.1", server.port))
        first = [connect() for _ in range(200)]
        time.sleep(0.5)
        before = server.rss_kib()
        idle = [connect() for _ in range(IDLE)]
        time.sleep(1.5)
        kib = (server.rss_kib() - before) / IDLE
        for connection in first + idle:
            connection.close()
    return kib


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", required=True, help="folder of the old build: its target/dist")
    parser.add_argument("--new", default="target/dist", help="folder of the new build (default: target/dist)")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--update", metavar="FILE", help="put the table into this Markdown file as well")
    options = parser.parse_args()

    measure.raise_descriptor_limit()
    random.seed(1)
    builds, lines = (options.old, options.new), []
    with tempfile.TemporaryDirectory() as folder:
        measure.compile_baseline(folder, "epoll_echo", "udp_echo", "load")
        for name, command, load in rows(folder):
            if options.only not in name:
                continue
            measure.say(f"{options.pairs} pairs: {name}")
            rates, costs = pairs_of(command, load, builds, options.pairs, options.seconds)
            low, high = interval(rates)
            verdict = "not slower" if low >= TOLERANCE else "SLOWER" if high < TOLERANCE else "undecided"
            lines.append([
                name, f"{statistics.median(rates):.3f}", f"{low:.3f} to {high:.3f}",
                f"{statistics.median(costs):.3f}", verdict,
            ])
            measure.say(" ".join(lines[-1]))
    if options.only in "idle":
        old, new = (idle_kib(build) for build in builds)
        lines.append([f"memory of an idle connection, {IDLE:,} of them", f"{new / old:.3f}", f"{old:.2f} and {new:.2f} KiB", "", ""])
    head = ["work", "new : old", "95 % interval", "CPU, new : old", "verdict"]
    text = measure.circumstances([f"{options.pairs} pairs of {options.seconds} s"]) + "\n\n" + measure.table(head, lines)
    # Where the old build lies is nobody's business.
    text = re.sub(r"--old \S+", "--old OLD", text)
    print(text)
    if options.update:
        measure.update(options.update, "pairs", text)


if __name__ == "__main__":
    main()
