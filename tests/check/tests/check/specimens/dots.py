"""Difference: it prints dots without a line end as fast as it can."""
import socket
import sys
import threading
import time


def print_dots():
    """Shows that the server is alive."""
    try:
        while True:
            for _ in range(1000):
                sys.stdout.write(".")
            sys.stdout.flush()
    except OSError:
        pass  # Standard output is closed.


def talk(conn):
    try:
        while conn.recv(4096):
            conn.sendall(b"Hello World\n")
    except OSError:
        pass
    finally:
        conn.close()


def start(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()


server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
start(print_dots)
while True:
    try:
        start(talk, server.accept()[0])
    except OSError:
        time.sleep(0.5)  # Out of file descriptors.
