"""The servers that compare.py drives, and the site they serve."""

import contextlib
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import measure

FILES = {"1KiB.txt": 1 << 10, "1MiB.bin": 1 << 20, "256MiB.bin": 256 << 20}

# As fast as an administrator would make it: two workers for two cores, sendfile, no access log, a cache of open files
# that notices a change within a second, as ours does, and connections that are never closed for their age.
NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 2;
worker_rlimit_nofile {files};
events {{ worker_connections 20000; }}
http {{
    types {{ text/plain txt; }}
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 1000s;
    keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 1s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {site};
    }}
}}
"""

# Python's server with what a fair race needs: HTTP/1.1 and its `Connection` header, no Nagle between head and body,
# our backlog, and no line in a log for each request or for each client that leaves.
PYTHON = """
import functools, http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def log_message(self, *_): pass
    def end_headers(self):
        if self.close_connection: self.send_header("Connection", "close")
        super().end_headers()
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    def handle_error(self, *_): pass
server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
print(f"python listening on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
"""


def make_site(folder):
    """Fills `folder` with the files to serve. nginx's workers are not root, so everybody may read them."""
    os.chmod(folder, 0o755)
    for name, size in FILES.items():
        with open(Path(folder) / name, "wb") as file:
            for _ in range(max(1, size >> 20)):
                file.write(b"x" * min(size, 1 << 20))
    return folder


def ours(options, site):
    # The idle time of nginx above: a row must not end because connections expire.
    command = [options.ours, "serve", "http", site, "--bind", "127.0.0.1:0", "--idle-timeout", "1000s"]
    return measure.Server("ours", command)


def python(_options, site):
    return measure.Server("python", [sys.executable, "-c", PYTHON, site])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextlib.contextmanager
def nginx(_options, site):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        address = ("127.0.0.1", free_port())
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, site=site, port=address[1], files=measure.raise_descriptor_limit()))
        with measure.Server("nginx", ["nginx", "-c", str(config), "-p", folder], address) as server:
            wait_until_it_accepts(address)
            yield server


def wait_until_it_accepts(address):
    """For a server that prints no ready line: tries until it takes a connection."""
    end = time.monotonic() + measure.STARTS_WITHIN
    while True:
        try:
            return socket.create_connection(address, timeout=1).close()
        except OSError as error:
            if time.monotonic() > end:
                sys.exit(f"no server accepts at port {address[1]}: {error}")
            time.sleep(0.02)


STARTERS = {"ours": ours, "nginx": nginx, "python": python}
