"""The two clients that wrk cannot be: one with thousands of idle connections, and one that downloads a large file."""

import contextlib
import select
import socket
import time

TIMEOUT = 30  # seconds, of every single socket operation
PER_SOURCE = 5_000  # connections from one address: loopback has many addresses, an address only 28,000 free ports
IP_BIND_ADDRESS_NO_PORT = 24  # Linux; Python has no name for it


def request_for(path, host):
    return f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def read_head(connection):
    """Reads one response's head. Gives the length of its body, and how much of that has come along."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        if not (more := connection.recv(65536)):
            raise ConnectionError("closed within a head")
        received += more
    status, *lines = received[:end].decode("latin-1").split("\r\n")
    if status.split()[1] != "200":
        raise ConnectionError(f"answered {status}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(headers["content-length"]), len(received) - end - 4


def read_response(connection, buffer):
    missing, came = read_head(connection)
    missing -= came
    while missing > 0:
        if not (count := connection.recv_into(buffer, min(missing, len(buffer)))):
            raise ConnectionError("closed within a body")
        missing -= count


def download(host, port, path, piece):
    """Downloads `path` again and again over one connection, reading at most `piece` bytes at once; yields the seconds each took."""
    buffer = bytearray(piece)
    with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
        while True:
            start = time.perf_counter()
            connection.sendall(request_for(path, host))
            read_response(connection, buffer)
            yield time.perf_counter() - start


class Idle(list):
    """Idle connections."""

    def closed_by_server(self):
        """How many of them the server has closed: an idle connection is readable only when it ends."""
        poll = select.poll()
        for connection in self:
            poll.register(connection, select.POLLIN)
        return len(poll.poll(0))


@contextlib.contextmanager
def open_idle(host, port, path, count):
    """Opens `count` connections; each makes one request, gets its answer, and then says nothing."""
    idle, buffer = Idle(), bytearray(65536)
    try:
        for number in range(count):
            connection = socket.socket()
            idle.append(connection)
            connection.settimeout(TIMEOUT)
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((f"127.0.0.{2 + number // PER_SOURCE % 250}", 0))
            connection.connect((host, port))
            connection.sendall(request_for(path, host))
            read_response(connection, buffer)
        yield idle
    finally:
        for connection in idle:
            connection.close()
