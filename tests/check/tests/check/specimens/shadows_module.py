"""Mistake: `for socket in` hides the module socket, so `except socket.error` fails later."""
import select
import socket
import sys

port = int(sys.argv[1])

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port))
server.listen()

to_monitor = [server]


def drop(client):
    to_monitor.remove(client)
    client.close()


while True:
    ready_to_read, _, _ = select.select(to_monitor, [], [])

    for socket in ready_to_read:
        if socket is server:
            client, addr = server.accept()
            to_monitor.append(client)
            continue
        try:
            request = socket.recv(4096)
            if request:
                socket.sendall(b"Hello World\n")
            else:
                drop(socket)
        except socket.error:
            drop(socket)
