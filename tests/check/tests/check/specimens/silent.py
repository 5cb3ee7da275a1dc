"""Mistake: it receives and never responds."""
import sys
import threading
import time
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket


def client_loop(conn):
    while True:
        try:
            data = conn.recv(4096)
        except OSError:
            break
        if not data:
            break
    conn.close()


listener = socket(AF_INET, SOCK_STREAM)
listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
while True:
    try:
        conn, _ = listener.accept()
    except OSError:
        time.sleep(1)  # too many open files
        continue
    threading.Thread(target=client_loop, args=[conn], daemon=True).start()
