#!/usr/bin/env python3
"""Compares our web server with nginx and with Python's ThreadingHTTPServer, on this machine, over loopback.

Each server of a row is driven in turn, in several rounds which interleave the servers, so that what else the machine
does meets all of them alike. Ratios are taken within a round; the report shows the medians of the rounds.
Standard library only; needs wrk, and nginx to compare with.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
from contestants import STARTERS, make_site
from clients import download, open_idle

HERE = Path(__file__).parent
MIB = 1 << 20


class Row:
    """One kind of work. `limits`: the ratio to nginx to reach, by figure; `(">=", 1.3)` is a floor, `("<=", 0.7)` a ceiling."""

    def __init__(self, title, measure_round, limits, servers=("ours", "nginx", "python")):
        self.title, self.measure_round, self.limits, self.servers = title, measure_round, limits, servers


def wrk(server, path, connections, seconds, headers=()):
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "report.lua")]
    command += [word for header in headers for word in ("-H", header)]
    command.append(f"http://{server.host}:{server.port}/{path}")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds + 60)
    result = json.loads(done.stdout.splitlines()[-1])
    if not result["requests"]:
        sys.exit(f"{server.name}: wrk got no answer at all")
    return result


def figures(server, result, cpu):
    """What every row tells: the CPU time is that of the whole run, and so is the number of requests."""
    return {
        "requests_per_s": result["requests"] / result["seconds"],
        "cpu_us": cpu * 1e6 / result["requests"],
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "rss_mib": server.rss_kib() / 1024,
        "errors": result["errors"],
    }


def by_wrk(path, connections, headers=()):
    def measure_round(server, options):
        wrk(server, path, connections, 1, headers)  # caches and pools fill
        before = server.cpu_seconds()
        result = wrk(server, path, connections, options.seconds, headers)
        return figures(server, result, server.cpu_seconds() - before)

    return measure_round


def by_downloads(path, piece):
    def measure_round(server, options):
        with contextlib.closing(download(server.host, server.port, path, piece)) as downloads:
            next(downloads)  # the file comes into the page cache
            before, start = server.cpu_seconds(), time.perf_counter()
            times = sorted(next(downloads) for _ in range(options.downloads))
            seconds = time.perf_counter() - start
            result = {
                "requests": len(times), "seconds": seconds, "errors": 0,
                "p50_ms": statistics.median(times) * 1e3, "p99_ms": times[-1] * 1e3,
            }
            return figures(server, result, server.cpu_seconds() - before)

    return measure_round


def beside_idle(server, options):
    """64 busy connections, alone and then beside the idle ones, on the same server."""
    wrk(server, "1KiB.txt", 64, 1)
    alone = wrk(server, "1KiB.txt", 64, options.seconds)
    rss, threads = server.rss_kib(), server.threads()
    with open_idle(server.host, server.port, "1KiB.txt", options.idle) as idle:
        kib_each = (server.rss_kib() - rss) / options.idle
        threads_idle = server.threads()
        before = server.cpu_seconds()
        busy = wrk(server, "1KiB.txt", 64, options.seconds)
        result = figures(server, busy, server.cpu_seconds() - before)
        result["cut"] = idle.closed_by_server()
    result["alone_per_s"] = alone["requests"] / alone["seconds"]
    result["kept"] = result["requests_per_s"] / result["alone_per_s"]
    return result | {"kib_each": kib_each, "threads": threads, "threads_idle": threads_idle}


FAST = {"cpu_us": ("<=", 0.55), "p99_ms": ("<=", 1.0)}
ROWS = {
    "keepalive64": Row(
        "GET 1 KiB, keep-alive, 64 connections", by_wrk("1KiB.txt", 64), {"requests_per_s": (">=", 1.4)} | FAST
    ),
    "keepalive1000": Row(
        "GET 1 KiB, keep-alive, 1,000 connections", by_wrk("1KiB.txt", 1000), {"requests_per_s": (">=", 1.3)} | FAST
    ),
    "close": Row("GET 1 KiB, `Connection: close`, 64 connections", by_wrk("1KiB.txt", 64, ["Connection: close"]),
                 {"requests_per_s": (">=", 1.1), "cpu_us": ("<=", 0.92)}),
    "1MiB": Row("GET 1 MiB, keep-alive, 64 connections", by_wrk("1MiB.bin", 64), {"requests_per_s": (">=", 1.1)}),
    # How much the client reads at once decides as much as the server: most read 64 KiB or less, so both ends of the range.
    "256MiB": Row(
        "GET 256 MiB, one connection, read by 64 KiB", by_downloads("256MiB.bin", 64 << 10), {"requests_per_s": (">=", 0.95)}
    ),
    "256MiB-by-1MiB": Row(
        "GET 256 MiB, one connection, read by 1 MiB", by_downloads("256MiB.bin", MIB), {"requests_per_s": (">=", 0.95)}
    ),
    # A thread for each of the idle connections is not what Python's server is made for.
    "idle": Row("64 busy connections beside idle ones", beside_idle, {}, servers=("ours", "nginx")),
}
BYTES = {"1MiB": MIB, "256MiB": 256 * MIB, "256MiB-by-1MiB": 256 * MIB}


def run_row(row, names, starters, options):
    """The rounds of one row: each a dictionary from a server's name to its figures."""
    rounds = []
    for number in range(options.rounds):
        turn = names[number % len(names):] + names[:number % len(names)]  # nobody is always first
        results = {}
        for name in turn:
            measure.say(f"{row.title}: round {number + 1} of {options.rounds}: {name}")
            with starters[name]() as server:
                results[name] = row.measure_round(server, options)
        rounds.append(results)
    return rounds


def median_of(rounds, name, key, over=None):
    """The median of a figure, or of its ratio to that of the server `over` in the same round."""
    return statistics.median(turn[name][key] / (turn[over][key] or 1e-9 if over else 1) for turn in rounds)


def judge(row, rounds, name):
    """Says of each limit whether our server keeps it."""
    verdicts = []
    for key, (sign, limit) in row.limits.items():
        ratio = median_of(rounds, name, key, "nginx")
        reached = ratio >= limit if sign == ">=" else ratio <= limit
        label = {"requests_per_s": "requests/s", "cpu_us": "CPU", "p99_ms": "p99"}[key]
        verdicts.append(f"{label} {'≥' if sign == '>=' else '≤'} {limit}: {'reached' if reached else 'NOT reached'}")
    return "; ".join(verdicts)


def load_table(results):
    head = ["work", "server", "requests/s", "CPU µs/request", "p50 ms", "p99 ms", "RSS MiB",
            "× nginx, requests/s", "× nginx, CPU", "× nginx, p99", "errors", "to reach"]
    rows = []
    for key, rounds in results.items():
        for name in sorted(rounds[0], key=list(STARTERS).index):
            figure = lambda what: median_of(rounds, name, what)
            speed = f"{figure('requests_per_s'):,.0f}" if not key.startswith("256MiB") else f"{figure('requests_per_s'):.2f}"
            if key in BYTES:
                speed += f" ({figure('requests_per_s') * BYTES[key] / 1e9:.2f} GB/s)"
            compared = "nginx" in rounds[0]
            ratios = [f"{median_of(rounds, name, what, 'nginx'):.2f}" if compared else "–"
                      for what in ("requests_per_s", "cpu_us", "p99_ms")]
            rows.append([
                ROWS[key].title, name, speed, f"{figure('cpu_us'):,.1f}", f"{figure('p50_ms'):.2f}",
                f"{figure('p99_ms'):.2f}", f"{max(turn[name]['rss_mib'] for turn in rounds):.1f}", *ratios,
                str(sum(turn[name]["errors"] for turn in rounds)),
                judge(ROWS[key], rounds, name) if name == "ours" and compared else "",
            ])
    return measure.table(head, rows)


def idle_table(rounds, count):
    head = ["server", f"RSS KiB per connection, {count:,} idle", "threads before", "threads with them",
            "requests/s of 64 alone", "beside the idle", "kept", "idle ones cut", "errors", "to reach"]
    rows = []
    for name in sorted(rounds[0], key=list(STARTERS).index):
        figure = lambda what: median_of(rounds, name, what)
        more = max(turn[name]["threads_idle"] - turn[name]["threads"] for turn in rounds)
        checks = {"≤ 1.2 KiB each": figure("kib_each") <= 1.2, "no thread more": more <= 0, "≥ 90 % kept": figure("kept") >= 0.9}
        rows.append([
            name, f"{figure('kib_each'):.2f}", f"{figure('threads'):.0f}", f"{figure('threads_idle'):.0f}",
            f"{figure('alone_per_s'):,.0f}", f"{figure('requests_per_s'):,.0f}", f"{figure('kept') * 100:.0f} %",
            str(sum(turn[name]["cut"] for turn in rounds)), str(sum(turn[name]["errors"] for turn in rounds)),
            "; ".join(f"{what}: {'reached' if ok else 'NOT reached'}" for what, ok in checks.items()) if name == "ours" else "",
        ])
    return measure.table(head, rows)


def report(results, options):
    versions = [measure.first_line("nginx", "-v"), "Python " + sys.version.split()[0], measure.first_line("wrk", "-v").partition(" Copy")[0]]
    parts = [measure.circumstances(versions), f"Medians over {options.rounds} round(s) of {options.seconds} s; RSS is the largest seen."]
    if loads := {key: rounds for key, rounds in results.items() if key != "idle"}:
        parts.append(load_table(loads))
    if "idle" in results:
        parts.append(idle_table(results["idle"], options.idle))
    return "\n\n".join(parts)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default="target/dist/socketserver", metavar="PROGRAM", help="our binary, or what stands in for it")
    parser.add_argument("--servers", default=",".join(STARTERS), help="which to run (default: %(default)s)")
    parser.add_argument("--rows", default=",".join(ROWS), help="which to measure (default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="default: 5, with --quick 1")
    parser.add_argument("--seconds", type=int, help="of each run of wrk; default: 5, with --quick 1")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a first impression, not a result")
    parser.add_argument("--json", action="store_true", help="print the rounds' figures instead of the tables")
    parser.add_argument("--update", metavar="FILE", help="put the tables into this Markdown file as well")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 5)
    options.downloads = 2 if options.quick else 16
    options.servers, options.rows = options.servers.split(","), options.rows.split(",")
    for given, known in ((options.servers, STARTERS), (options.rows, ROWS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    needed = {"wrk"} | {"nginx"} & set(options.servers) | ({options.ours} if "ours" in options.servers else set())
    for program in sorted(needed):
        if not shutil.which(program):
            parser.error(f"{program} is missing: 'make build' builds our binary, 'make deps' installs the others")
    return options


def main():
    options = parse_arguments()
    limit = measure.raise_descriptor_limit()
    if "idle" in options.rows and options.idle > (room := limit - 1000):
        measure.say(f"only {limit} open files are allowed here: {room} idle connections instead of {options.idle}")
        options.idle = room
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        site = make_site(folder)
        starters = {name: lambda start=start: start(options, site) for name, start in STARTERS.items()}
        for key in options.rows:
            names = [name for name in options.servers if name in ROWS[key].servers]
            if names:
                results[key] = run_row(ROWS[key], names, starters, options)
    text = report(results, options)
    print(json.dumps(results) if options.json else text)
    if options.update:
        measure.update(options.update, "compare", text)


if __name__ == "__main__":
    main()
