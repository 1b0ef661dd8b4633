"""Clients over TLS for one measurement: they open sessions of the framed protocol, and wait for one message each.

    python bench/tls_clients.py PORT

`open CLIENTS` on standard input opens so many more, `receive BYTES` reads a PUSH of so many bytes on each; each is
answered with a line of JSON. Must not import push.
"""

import json
import socket
import ssl
import struct
import sys
import time

HEADER = struct.Struct(">BBBIBH")  # docs/protocol.md, "Frame"
MAGIC, VERSION, SUB, PUSH = 0xF8, 2, 1, 4
SUB_BODY = b'{"interval":1800000}'
TIMEOUT_S = 60


def read_exactly(connection: ssl.SSLSocket, count: int) -> bytes:
    """So many bytes.

    Raises:
        ConnectionError: the server has closed.
    """
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the server closed a connection")
        data += piece
    return data


def read_frame(connection: ssl.SSLSocket, signal: int) -> bytes:
    """The body of the next frame, which must have this signal."""
    header = HEADER.unpack(read_exactly(connection, HEADER.size))
    body = read_exactly(connection, header[3])
    if header[0] != MAGIC or header[2] != signal:
        raise ConnectionError(f"expected signal {signal}, got {header}: {body[:200]!r}")
    return body


def open_one(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """One connection with its session open."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    connection = context.wrap_socket(plain)
    connection.sendall(HEADER.pack(MAGIC, VERSION, SUB, len(SUB_BODY), 0, 1) + SUB_BODY)
    if json.loads(read_frame(connection, SUB))["status"] != 200:
        raise ConnectionError("the SUB was refused")
    return connection


def main() -> None:
    """Obey standard input until it ends."""
    port = int(sys.argv[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the server has signed its certificate itself
    connections: list[ssl.SSLSocket] = []
    for line in sys.stdin:
        word, number = line.split()
        count = int(number)
        began_s = time.monotonic()
        if word == "open":
            connections += [open_one(context, port) for _ in range(count)]
            answer = {"opened_per_s": round(count / (time.monotonic() - began_s))}
        else:
            wrong = sum(len(read_frame(connection, PUSH)) != count for connection in connections)
            answer = {"received": len(connections), "wrong": wrong}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
