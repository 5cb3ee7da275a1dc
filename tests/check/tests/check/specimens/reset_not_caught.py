"""Mistake: if a client resets, recv or send raises an error, which is not caught and ends the server."""
import select
import socket
import sys

HOST = "127.0.0.1"
PORT = int(sys.argv[1])

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((HOST, PORT))
server.listen()

sockets = [server]


def new_client():
    client, address = server.accept()
    sockets.append(client)


def handle(client):
    data = client.recv(4096)
    if not data:
        sockets.remove(client)
        client.close()
        return
    client.sendall(b"Hello World\n")


while True:
    readable, _, _ = select.select(sockets, [], [])
    for s in readable:
        if s is server:
            new_client()
        else:
            handle(s)
