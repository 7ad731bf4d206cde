"""What the benchmark scripts share: servers that are started and stopped, what /proc says of them, and the report."""

import os
import platform
import queue
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
READY_LINE = re.compile(r"^\w+ listening on \w+://(127\.\d+\.\d+\.\d+):(\d+)/?$")
BASELINE = Path(__file__).parent / "baseline"
STARTS_WITHIN = 10  # seconds


def process_tree(pid):
    """The process and all its living descendants: nginx serves from workers, a forking server from children."""
    tree = [pid]
    for parent in tree:
        try:
            for children in list(Path(f"/proc/{parent}/task").glob("*/children")):
                try:
                    tree += map(int, children.read_text().split())
                except OSError:
                    pass  # that thread ended while we looked
        except OSError:
            pass  # that process did
    return tree


class Server:
    """A running server. Leaving its `with` block ends it."""

    def __init__(self, name, command, address=None):
        """Starts `command`. Without an `address`, waits for its ready line to learn it."""
        self.name = name
        stdout = subprocess.DEVNULL if address else subprocess.PIPE
        # A session of its own: a stray worker can be ended with it, and Ctrl-C reaches only this script.
        self.process = subprocess.Popen(command, stdout=stdout, stdin=subprocess.DEVNULL, text=True, start_new_session=True)
        try:
            self.host, self.port = address or self._ready_line()
        except BaseException:
            self.stop()
            raise

    def _ready_line(self):
        # A pipe cannot be read with a time limit, a queue can.
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=STARTS_WITHIN)
        except queue.Empty:
            line = ""
        match = READY_LINE.match(line.strip())
        if not match:
            sys.exit(f"{self.name}: no ready line within {STARTS_WITHIN} s, but {line!r}")
        return match[1], int(match[2])

    def cpu_seconds(self):
        """User and system time of the tree, with that of children which have ended; exact to 10 ms per process."""
        ticks = 0
        for pid in process_tree(self.process.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended while we looked
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        return ticks / TICKS

    def _status(self, key):
        total = 0
        for pid in process_tree(self.process.pid):
            try:
                found = re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
            except OSError:
                continue  # it ended while we looked
            # What has ended and was not waited for has no memory.
            total += int(found[1]) if found else 0
        return total

    def rss_kib(self):
        return self._status("VmRSS")

    def peak_rss_kib(self):
        return self._status("VmHWM")

    def threads(self):
        return self._status("Threads")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def raise_descriptor_limit():
    """Lifts the soft limit of open files to the hard one, for this process and the servers it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def say(text):
    """Progress goes to standard error: standard output is the report."""
    print(text, file=sys.stderr, flush=True)


def compile_baseline(folder, *names):
    """Compiles the programs of these names in `baseline/` into a folder."""
    for name in names:
        subprocess.run(["cc", "-O2", "-pthread", "-o", f"{folder}/{name}", str(BASELINE / f"{name}.c")], check=True)


def first_line(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip().partition("\n")[0]


def circumstances(versions):
    """The lines above a table: when, what command, which machine, which versions."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    command = shlex.join(["python3", *(os.path.relpath(arg) if os.path.isabs(arg) else arg for arg in sys.argv)])
    return "\n".join([
        f"`{command}`, {time.strftime('%Y-%m-%d %H:%M %Z')}, commit {first_line('git', 'describe', '--always', '--dirty')},",
        f"{os.cpu_count()} × {model[1] if model else platform.machine()}, Linux {platform.release()}, {', '.join(versions)}.",
    ])


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def update(file, section, report):
    """Puts `report` between the two comments that mark `section` in a Markdown file."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, found, rest = Path(file).read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{file}: no section between {begin} and {end}")
    Path(file).write_text(f"{before}{begin}\n{report}\n{end}{after}")
