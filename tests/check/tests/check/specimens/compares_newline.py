r"""Mistake: b"\n" is taken for the end of the conversation, and the real end (b"") gets a response."""
import socket
import sys
from select import select

monitored = []


def make_server(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


def disconnect(client):
    monitored.remove(client)
    client.close()


def respond(client):
    try:
        request = client.recv(4096)
        if request == b'\n':
            disconnect(client)
        else:
            client.sendall(b'Hello World\n')
    except OSError:
        disconnect(client)


if __name__ == '__main__':
    server = make_server(int(sys.argv[1]))
    monitored.append(server)
    while True:
        for sock in select(monitored, [], [])[0]:
            if sock == server:
                client, addr = server.accept()
                monitored.append(client)
            else:
                respond(sock)
