#!/usr/bin/env python3
"""The FTP server beside vsftpd and pyftpdlib: large and small files, listings, commands, logins and idle sessions.

Every row runs its contestants in turn, for several rounds; ratios are taken within a round, the report shows medians.
Standard library only; needs a C compiler, and curl and openssl for the rows over TLS. vsftpd comes from the system, or
else from Debian's package, which is unpacked and not installed, because it conflicts with other FTP servers. pip fetches
pyftpdlib. The rows say which of them is missing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
from contestants import free_port, wait_until_it_accepts
from rows import Row, options_of, publish, run

MIB = 1 << 20
SMALL_FILES, SMALL_BYTES, DISK_FILES = 10_000, 4096, 2_000
CONNECTIONS, DEPTH = 50, 100
LOGINS = 8  # at the same time
COPIES = 4  # of the large file: system and user time are exact to 10 ms only
IDLE = 500
PYFTPDLIB = "pyftpdlib==2.2.0"

# As fast as an administrator would make it: no log, no PAM, no chroot to set up for each login, sendfile (the default).
# It does no fsync. Its anonymous user may do everything, as the users of the other servers may.
VSFTPD = """
listen=YES
listen_address={host}
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
no_anon_password=NO
anon_root={folder}
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
secure_chroot_dir={empty}
run_as_launching_user={unprivileged}
ftp_username=daemon
nopriv_user=nobody
xferlog_enable=NO
tcp_wrappers=NO
seccomp_sandbox=NO
max_clients=2000
max_per_ip=0
"""
VSFTPD_TLS = """
ssl_enable=YES
allow_anon_ssl=YES
force_anon_data_ssl=YES
force_anon_logins_ssl=YES
rsa_cert_file={certificate}
rsa_private_key_file={key}
"""

# The server of its documentation, with our backlog, without a log and without a limit of connections.
PYFTPD = """
import logging, sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
logging.basicConfig(level=logging.CRITICAL)
authorizer = DummyAuthorizer()
authorizer.add_user("bench", "bench", sys.argv[3], perm="elradfmwMT")
FTPHandler.authorizer = authorizer
server = FTPServer((sys.argv[1], int(sys.argv[2])), FTPHandler, backlog=1024)
server.max_cons = 2000
server.serve_forever(handle_exit=False)
"""


class Vsftpd(measure.Server):
    """vsftpd leaves the processes of its sessions behind when it ends."""

    def stop(self):
        for pid in measure.process_tree(self.process.pid)[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended while we looked
        super().stop()


class Bench:
    """Where things are, and how long to take."""

    def __init__(self, options, folder, disk):
        self.options, self.folder, self.disk, self.starts = options, Path(folder), Path(disk), 0
        self.folder.chmod(0o755)
        self.disk.chmod(0o755)
        measure.compile_baseline(folder, "ftp")
        self.load = self.folder / "ftp"
        contestants = Path(options.contestants or Path(options.ours).parent.parent / "contestants")
        self.vsftpd, self.pyftpdlib = find_vsftpd(contestants), find_pyftpdlib(contestants)
        (self.folder / "empty").mkdir()
        self.accounts = self.folder / "accounts.db"
        add = [options.ours, "users", "add", "--accounts", self.accounts, "--rights", "lrwd", "--password-stdin", "bench"]
        subprocess.run(add, input="bench\n", check=True, stdout=subprocess.DEVNULL, text=True)
        self.certificate, self.key = self.folder / "certificate.pem", self.folder / "key.pem"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        make += ["-subj", "/CN=localhost", "-keyout", self.key, "-out", self.certificate]
        if shutil.which("openssl") and shutil.which("curl"):
            subprocess.run(make, check=True, stderr=subprocess.DEVNULL)

    def host(self):
        """A new address of loopback: the ports of the last server's data connections are not free for a minute."""
        self.starts += 1
        return f"127.0.{1 + self.starts // 250}.{1 + self.starts % 250}"

    def ours(self, folder, tls=False, fsync=False):
        command = [self.options.ours, "serve", "ftp", folder, "--accounts", self.accounts, "--bind", f"{self.host()}:0", "-q"]
        command += [] if fsync else ["--no-fsync"]
        command += ["--require-tls", "all", "--tls-cert", self.certificate, "--tls-key", self.key] if tls else []
        server = measure.Server("ours", list(map(str, command)))
        server.user = "bench"
        return server

    def servers(self, folder, *names, tls=False):
        """The contestants of these names that are there, each while it runs and serves the folder."""
        for name in names or ("ours", "vsftpd", "pyftpdlib"):
            if name == "ours":
                server = self.ours(folder, tls)
            elif getattr(self, name) is None:
                continue
            else:
                server = self.other(name, folder, tls)
            with server:
                yield name, server

    def other(self, name, folder, tls):
        address = (self.host(), free_port())
        if name == "vsftpd":
            config = self.folder / "vsftpd.conf"
            unprivileged = "NO" if os.getuid() == 0 else "YES"
            text = VSFTPD.format(host=address[0], port=address[1], folder=folder, empty=self.folder / "empty", unprivileged=unprivileged)
            text += VSFTPD_TLS.format(certificate=self.certificate, key=self.key) if tls else ""
            config.write_text(text)
            server, user = Vsftpd(name, [self.vsftpd, str(config)], address), "ftp"
        else:
            environment = ["env", f"PYTHONPATH={self.pyftpdlib}"]
            command = [*environment, sys.executable, "-c", PYFTPD, *map(str, address), str(folder)]
            server, user = measure.Server(name, command, address), "bench"
        server.user = user
        wait_until_it_accepts(address)
        # pyftpdlib sometimes closes the next connection while it ends the one that was just made.
        time.sleep(0.2)
        return server

    def run(self, server, mode, *arguments):
        """What the load reports, with the CPU time and the memory of the server, without those of the logins."""
        command = [str(self.load), mode, server.host, str(server.port), server.user, *map(str, arguments)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            if load.stdout.readline() != "ready\n":
                raise SystemExit(f"{server.name}: the load could not log in")
            before = server.cpu_seconds()
            load.stdin.write("\n")
            load.stdin.flush()
            line = load.stdout.readline()
            if not line:
                raise SystemExit(f"{server.name}: the load failed")
            cpu, rss = server.cpu_seconds() - before, server.peak_rss_kib()
        return json.loads(line) | {"cpu": cpu, "rss_mib": rss / 1024}

    def receivers(self, *names, tls=False):
        """The same with a new folder for each, which is removed afterwards."""
        for name in names or ("ours", "vsftpd", "pyftpdlib"):
            folder = self.folder_for("received-")
            yield from self.servers(folder, name, tls=tls)
            shutil.rmtree(folder)

    def folder_for(self, name, disk=False):
        """A new folder with a folder `in`, in which every contestant may write: vsftpd wants none at its root."""
        folder = Path(tempfile.mkdtemp(prefix=name, dir=self.disk if disk else self.folder))
        folder.chmod(0o755)
        (folder / "in").mkdir()
        (folder / "in").chmod(0o777)
        return folder

    def files(self):
        """The folder with the small files, made once, and the one with the large one."""
        small, large = self.folder / "small", self.folder / "large"
        if not small.exists():
            small.mkdir()
            large.mkdir()
            for number in range(SMALL_FILES):
                (small / f"file{number}").write_bytes(b"x" * SMALL_BYTES)
            piece = os.urandom(MIB)
            with open(large / "file0", "wb") as file:
                for _ in range(self.options.mib):
                    file.write(piece)
            for number in range(1, COPIES):
                os.link(large / "file0", large / f"file{number}")
        return small, large


def find_vsftpd(target):
    """The program, from the system or from Debian's package, if it runs here."""
    program = shutil.which("vsftpd", path=os.environ["PATH"] + ":/usr/sbin")
    if not program and shutil.which("apt-get") and shutil.which("dpkg"):
        folder = target / "vsftpd"
        if not (folder / "usr/sbin/vsftpd").exists():
            folder.mkdir(parents=True, exist_ok=True)
            measure.say("apt-get fetches vsftpd")
            subprocess.run(["apt-get", "download", "-qq", "vsftpd"], cwd=folder, stdout=subprocess.DEVNULL)
            for package in folder.glob("vsftpd_*.deb"):
                subprocess.run(["dpkg", "-x", package, folder])
        program = str(folder / "usr/sbin/vsftpd")
    # It writes its version to standard input.
    if program and Path(program).exists() and vsftpd_version(program):
        return program
    measure.say("no vsftpd: its figures are missing")
    return None


def vsftpd_version(program):
    with tempfile.TemporaryFile("w+") as input:
        if subprocess.run([program, "-v"], stdin=input, capture_output=True).returncode == 127:
            return None
        input.seek(0)
        return input.read().strip()


def find_pyftpdlib(target):
    """The folder into which pip puts it."""
    folder = target / "pyftpdlib"
    if not folder.exists():
        measure.say("pip fetches pyftpdlib")
        fetch = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), PYFTPDLIB]
        if subprocess.run(fetch, stdout=subprocess.DEVNULL).returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            measure.say("no pyftpdlib: its figures are missing")
            return None
    return folder


def each(result, count=None):
    """Work done a second, and the CPU time of each."""
    count = count or result["done"]
    return {"per_s": count / result["seconds"], "cpu_us": result["cpu"] * 1e6 / count, "rss_mib": result["rss_mib"]}


def bulk(mode):
    """The large file some times, in the clear. CPU time is that of each MiB."""
    def measure_all(bench):
        for name, server in bench.servers(bench.files()[1]) if mode == "get" else bench.receivers():
            bench.run(server, mode, 1, 1, bench.options.mib * MIB)
            result = bench.run(server, mode, 1, COPIES, bench.options.mib * MIB)
            figures = each(result, COPIES * bench.options.mib)
            yield name, figures | {"per_s": figures["per_s"] / 1024}
    return measure_all


def bulk_tls(mode):
    """The large file by curl, which starts, connects and ends within the time: the same for each server."""
    def measure_all(bench):
        if not bench.certificate.exists():
            return
        source = bench.files()[1]
        both = ("ours", "vsftpd")
        for name, server in bench.servers(source, *both, tls=True) if mode == "get" else bench.receivers(*both, tls=True):
            address = f"ftp://{server.user}:bench@{server.host}:{server.port}/{'file0' if mode == 'get' else 'in/'}"
            what = ["-o", "/dev/null"] if mode == "get" else ["-T", source / "file0"]
            command = ["curl", "-s", "-S", "-k", "--ssl-reqd", *map(str, what), address]
            times = []
            for _ in range(1 + COPIES):  # the first one warms up
                before, begun = server.cpu_seconds(), time.perf_counter()
                subprocess.run(command, check=True)
                seconds = time.perf_counter() - begun
                time.sleep(0.2)  # until vsftpd has waited for the processes of the session
                cpu = server.cpu_seconds() - before
                times.append((seconds, cpu))
            seconds, cpu = map(sum, zip(*times[1:]))
            mib = COPIES * bench.options.mib
            yield name, {"per_s": mib / 1024 / seconds, "cpu_us": cpu * 1e6 / mib, "rss_mib": server.peak_rss_kib() / 1024}
    return measure_all


def get_small(sessions):
    def measure_all(bench):
        for name, server in bench.servers(bench.files()[0]):
            yield name, each(bench.run(server, "get", sessions, SMALL_FILES, SMALL_BYTES))
    return measure_all


def put_small(sessions):
    def measure_all(bench):
        for name, server in bench.receivers():
            yield name, each(bench.run(server, "put", sessions, SMALL_FILES, SMALL_BYTES))
    return measure_all


def put_disk(bench):
    # Nothing is removed before all is measured: ext4 hesitates to use a fresh inode again.
    for name, fsync in [("ours", True), ("ours, no fsync", False)]:
        with bench.ours(bench.folder_for("small-", disk=True), fsync=fsync) as server:
            yield name, each(bench.run(server, "put", 8, DISK_FILES, SMALL_BYTES))
    for name, server in bench.servers(bench.folder_for("small-", disk=True), "vsftpd"):
        yield f"{name}, no fsync", each(bench.run(server, "put", 8, DISK_FILES, SMALL_BYTES))


def listing(verb, *names):
    def measure_all(bench):
        for name, server in bench.servers(bench.files()[0], *names):
            yield name, each(bench.run(server, verb, 1, bench.options.seconds))
    return measure_all


def noop(depth):
    def measure_all(bench):
        for name, server in bench.servers(bench.files()[1]):
            yield name, each(bench.run(server, "noop", CONNECTIONS, bench.options.seconds, depth))
    return measure_all


def logins(bench):
    for name, server in bench.servers(bench.files()[1]):
        bench.run(server, "login", LOGINS, 0.2)  # our server remembers the password
        result = bench.run(server, "login", LOGINS, bench.options.seconds)
        yield name, {"per_s": result["done"] / result["seconds"], "rss_mib": result["rss_mib"]}


def idle(bench):
    """What the sessions add to the memory, in MiB, and to the threads and processes."""
    for name, server in bench.servers(bench.files()[1]):
        bench.run(server, "noop", CONNECTIONS, 0.2, 1)
        time.sleep(0.5)
        kib, threads = server.rss_kib(), server.threads()
        command = [str(bench.load), "idle", server.host, str(server.port), server.user, str(IDLE)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            if load.stdout.readline() != "ready\n":
                raise SystemExit(f"{name}: the load could not log in")
            time.sleep(0.5)
            more = {"per_s": (server.rss_kib() - kib) / 1024, "threads": server.threads() - threads}
            yield name, more | {"rss_mib": server.rss_kib() / 1024}


AS_FAST = lambda name, ratio=1: (name, "per_s", ">=", ratio)
AS_LIGHT = ("vsftpd", "cpu_us", "<=", 1)
SMALL = f"{SMALL_FILES:,} files of {SMALL_BYTES // 1024} KiB"
ROWS = {
    "retr": Row("RETR of {mib} MiB; CPU of each MiB", "GiB/s", bulk("get"), AS_FAST("vsftpd"), AS_LIGHT),
    "stor": Row("STOR of {mib} MiB; CPU of each MiB", "GiB/s", bulk("put"), AS_FAST("vsftpd"), AS_LIGHT),
    "retr-tls": Row("RETR of {mib} MiB over TLS, by curl; CPU of each MiB", "GiB/s", bulk_tls("get"), AS_FAST("vsftpd")),
    "stor-tls": Row("STOR of {mib} MiB over TLS, by curl; CPU of each MiB", "GiB/s", bulk_tls("put"), AS_FAST("vsftpd")),
    "put-1": Row(f"STOR of {SMALL}, 1 session", "files/s", put_small(1), AS_FAST("vsftpd", 1.2)),
    "put-8": Row(f"STOR of {SMALL}, 8 sessions", "files/s", put_small(8), AS_FAST("vsftpd", 1.2)),
    "get-1": Row(f"RETR of {SMALL}, 1 session", "files/s", get_small(1), AS_FAST("vsftpd", 1.2)),
    "get-8": Row(f"RETR of {SMALL}, 8 sessions", "files/s", get_small(8), AS_FAST("vsftpd", 1.2)),
    "put-disk": Row(f"STOR of {DISK_FILES:,} files of {SMALL_BYTES // 1024} KiB on a disk, fsync, 8 sessions", "files/s", put_disk),
    "list": Row(f"LIST of {SMALL_FILES:,} entries", "listings/s", listing("list"), AS_FAST("vsftpd")),
    "mlsd": Row(f"MLSD of {SMALL_FILES:,} entries", "listings/s", listing("mlsd", "ours", "pyftpdlib"), AS_FAST("pyftpdlib", 3)),
    "noop": Row(f"NOOP one at a time, {CONNECTIONS} connections", "commands/s", noop(1), AS_FAST("pyftpdlib", 1.5), AS_FAST("vsftpd")),
    "noop-pipelined": Row(f"NOOP, {DEPTH} in one write, {CONNECTIONS} connections", "commands/s", noop(DEPTH),
                          AS_FAST("pyftpdlib", 1.5), AS_FAST("vsftpd")),
    "login": Row(f"login with a remembered password, {LOGINS} at a time", "logins/s", logins, AS_FAST("pyftpdlib", 1.2)),
    "idle": Row(f"memory that {IDLE} idle sessions add", "MiB", idle, (None, "per_s", "<=", 2), (None, "threads", "<=", 0), speed="memory"),
}


def main():
    parser = options_of(ROWS, __doc__)
    parser.add_argument("--ours", default="target/dist/socketserver", metavar="PROGRAM", help="our binary")
    parser.add_argument("--contestants", metavar="FOLDER", help="where the others are put (default: contestants beside dist)")
    parser.add_argument("--mib", type=int, default=256, help="size of the large file (default: %(default)s)")
    options = parser.parse_args()
    measure.raise_descriptor_limit()
    # Memory if there is enough of it: a disk would be the same for all, and slower than any of them.
    place = "/dev/shm" if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 2 * (COPIES + 1) * options.mib * MIB else None
    with tempfile.TemporaryDirectory(dir=place) as folder, tempfile.TemporaryDirectory(dir=Path(options.ours).resolve().parent) as disk:
        bench = Bench(options, folder, disk)
        results = run(ROWS, bench, options)
        versions = [vsftpd_version(bench.vsftpd) if bench.vsftpd else "no vsftpd", PYFTPDLIB if bench.pyftpdlib else "no pyftpdlib"]
        versions += [measure.first_line("curl", "--version").partition(" (")[0] if shutil.which("curl") else "no curl"]
    publish("ftp", versions, ROWS, results, options)


if __name__ == "__main__":
    main()
