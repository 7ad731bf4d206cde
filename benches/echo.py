#!/usr/bin/env python3
"""CPU time per message of an echo of 64 bytes: bare loops in C beside the library's examples.

Each server runs alone, in turn, for several rounds, under the same load: 64 clients that play ping-pong.
Standard library only; needs a C compiler.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

import measure

# kind: the C program, the example, and the ratio of their CPU times per message to reach.
KINDS = {"tcp": ("epoll_echo", "tcp_echo", 1.2), "udp": ("udp_echo", "udp_echo", 1.3)}
CLIENTS = 64


def load(folder, kind, port, seconds):
    command = [f"{folder}/load", kind, str(port), str(CLIENTS), str(seconds)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds + 30).stdout)


def run(folder, kind, name, program, seconds):
    with measure.Server(name, [str(program)]) as server:
        load(folder, kind, server.port, min(0.5, seconds))
        before = server.cpu_seconds()
        result = load(folder, kind, server.port, seconds)
        cpu = server.cpu_seconds() - before
    if not result["messages"]:
        raise SystemExit(f"{name}: not one message came back")
    return {
        "server": name,
        "messages_per_s": result["messages"] / result["seconds"],
        "cpu_us": cpu * 1e6 / result["messages"],
        "lost": result["lost"],
    }


def judge(value, limit, unit):
    return f"≤ {limit:.2f}{unit}: {'reached' if value <= limit else 'NOT reached'}"


def report(results):
    rows = []
    for kind, rounds in results.items():
        for at, first in enumerate(rounds[0]):
            median = lambda key: statistics.median(turn[at][key] for turn in rounds)
            ratio = statistics.median(turn[at]["cpu_us"] / turn[0]["cpu_us"] for turn in rounds)
            cpu = median("cpu_us")
            verdict = "" if at == 0 else judge(ratio, KINDS[kind][2], " × C")
            lost = sum(turn[at]["lost"] for turn in rounds)
            rows.append([
                f"{kind.upper()} echo, {CLIENTS} clients", first["server"], f"{median('messages_per_s'):,.0f}",
                f"{cpu:.2f}", f"{ratio:.2f}", str(lost), verdict,
            ])
    return measure.table(["work", "server", "messages/s", "CPU µs/message", "× C", "lost", "to reach"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", default="target/dist/examples", help="folder of tcp_echo and udp_echo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--kinds", default="tcp,udp", help="which to run (default: tcp,udp)")
    parser.add_argument("--json", action="store_true", help="print the rounds' figures instead of the table")
    parser.add_argument("--update", metavar="FILE", help="put the table into this Markdown file as well")
    options = parser.parse_args()

    results = {kind: [] for kind in options.kinds.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        measure.compile_baseline(folder, "epoll_echo", "udp_echo", "load")
        for number in range(options.rounds):
            for kind, rounds in results.items():
                measure.say(f"round {number + 1} of {options.rounds}: {kind}")
                bare, example, *_ = KINDS[kind]
                rounds.append([
                    run(folder, kind, f"C, {bare}.c", Path(folder) / bare, options.seconds),
                    run(folder, kind, "socketserver", Path(options.examples) / example, options.seconds),
                ])
    text = measure.circumstances([measure.first_line("cc", "--version")]) + "\n\n" + report(results)
    print(json.dumps(results) if options.json else text)
    if options.update:
        measure.update(options.update, "echo", text)


if __name__ == "__main__":
    main()
