"""Rows of figures: contestants that do the same work in turn, for several rounds; ratios within a round, medians over them."""

import argparse
import json
import statistics
import time

import measure


class Row:
    """One kind of work. `run`, given a bench, yields each contestant and its figures. `goals`: (contestant, figure, sign, ratio of
    ours to it); without a contestant, (None, figure, sign, value). `speed` is what the figure `per_s` means."""

    def __init__(self, title, unit, run, *goals, speed="speed"):
        self.title, self.unit, self.run, self.goals = title, unit, run, goals
        self.labels = {"per_s": speed, "cpu_us": "CPU", "rss_mib": "RSS", "threads": "threads more"}


def options_of(rows, description):
    """The options that every script with rows has; a script adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(rows), help="which to measure (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--seconds", type=float, default=3, help="length of one run under load (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the rounds' figures instead of the table")
    parser.add_argument("--update", metavar="FILE", help="put the table into this Markdown file as well")
    return parser


def run(rows, bench, options):
    """The rounds of each row that was asked for."""
    results = {}
    for key in options.rows.split(","):
        for number in range(options.rounds):
            measure.say(f"{rows[key].title.format(**vars(options))}: round {number + 1} of {options.rounds}")
            results.setdefault(key, []).append(dict(rows[key].run(bench)))
    return results


def timed(work, rate_of=None, server=None):
    """Seconds of a piece of work, and with what memory."""
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    figure = {"seconds": seconds, "per_s": rate_of / seconds if rate_of else 1 / seconds}
    if server:
        figure["rss_mib"] = server.peak_rss_kib() / 1024
    return figure


def median(rounds, name, key, over=None):
    return statistics.median(turn[name][key] / (turn[over][key] if over else 1) for turn in rounds if name in turn)


def verdict(row, rounds, goal):
    """Whether our figure, as a ratio within each round or by itself, is what it should be."""
    other, what, sign, limit = goal
    if other and other not in rounds[0]:
        return f"{other} is missing"
    value = median(rounds, "ours", what, other)
    reached = value <= limit if sign == "<=" else value >= limit
    beside = f" × {other}" if other else ""
    sign = {"<=": "≤", ">=": "≥"}[sign]
    return f"{row.labels[what]} {value:.2f}{beside}, to reach {sign} {limit}: {'reached' if reached else 'NOT reached'}"


def report(rows, results, options):
    lines = []
    for key, rounds in results.items():
        row = rows[key]
        for name in rounds[0]:
            figure = lambda what: median(rounds, name, what) if what in rounds[0][name] else None
            verdicts = [verdict(row, rounds, goal) for goal in row.goals] if name == "ours" else []
            show = lambda value, digits: "–" if value is None else f"{value:,.{digits}f}"
            per_s = figure("per_s")
            lines.append([
                row.title.format(**vars(options)), name, f"{show(per_s, 2 if per_s < 100 else 0)} {row.unit}", show(figure("cpu_us"), 2),
                show(figure("rss_mib"), 1), show(figure("lost"), 0), "; ".join(verdicts),
            ])
    return measure.table(["work", "contestant", "speed", "server CPU µs each", "server RSS MiB, peak", "lost", "to reach"], lines)


def publish(section, versions, rows, results, options):
    """Prints the table, or the figures, and puts the table into `section` of the file that `--update` names."""
    text = measure.circumstances(versions) + "\n\n" + report(rows, results, options)
    print(json.dumps(results) if options.json else text)
    if options.update:
        measure.update(options.update, section, text)
