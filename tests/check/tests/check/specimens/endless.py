"""Mistake: the end of the stream is ignored, so a client that half-closes gets responses for ever."""
import socket
import sys
import time
from threading import Thread


def serve(c):
    try:
        while True:
            c.recv(4096)
            c.send(b"Hello World\n")
    except OSError:
        c.close()


s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen()

while True:
    try:
        c, addr = s.accept()
    except OSError:
        time.sleep(1)  # no file descriptor is free
        continue
    Thread(target=serve, args=(c,), daemon=True).start()
