"""Mistake: sendall blocks, so one client that never reads blocks the server for all clients."""
import socket
import sys
from select import select

GREETING = b"Hello World\n"


def open_server(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def serve_once(client):
    """Returns False if the client has disconnected."""
    try:
        if not client.recv(64):
            return False
        client.sendall(GREETING)
    except OSError:
        return False
    return True


def event_loop(server):
    clients = set()
    while True:
        ready, _, _ = select([server, *clients], [], [])
        for sock in ready:
            if sock is server:
                clients.add(server.accept()[0])
            elif not serve_once(sock):
                clients.discard(sock)
                sock.close()


if __name__ == "__main__":
    event_loop(open_server(int(sys.argv[1])))
