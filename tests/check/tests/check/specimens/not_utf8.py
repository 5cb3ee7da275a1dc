"""Difference: it prints bytes that are not UTF-8 (Latin-1) for each request."""
import socket
import sys
from contextlib import suppress
from select import select

sockets = []


def log():
    with suppress(OSError):
        sys.stdout.buffer.write(b"caf\xe9 served\n")
        sys.stdout.buffer.flush()


def talk(client):
    try:
        request = client.recv(4096)
        if request:
            client.sendall(b"Hello World\n")
            log()
            return
    except OSError:
        pass
    sockets.remove(client)
    client.close()


with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    # create_server() sets SO_REUSEADDR.
    sockets.append(server)
    while True:
        for ready in select(sockets, (), ())[0]:
            if ready is server:
                sockets.append(server.accept()[0])
            else:
                talk(ready)
