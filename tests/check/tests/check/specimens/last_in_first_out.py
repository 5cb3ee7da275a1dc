"""Mistake: one client at a time, and of the clients that wait, the last to connect comes first."""
import socket
import sys
from select import select

clients = []

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()


def accept_all():
    """Accepts every client that is waiting; blocks only if there is none to serve."""
    timeout = 0 if clients else None
    while select([listener], [], [], timeout)[0]:
        client, addr = listener.accept()
        clients.append(client)
        timeout = 0


def serve(client):
    try:
        while client.recv(4096):
            client.sendall(b"Hello World\n")
    except OSError:
        pass
    client.close()


while True:
    accept_all()
    serve(clients.pop())
