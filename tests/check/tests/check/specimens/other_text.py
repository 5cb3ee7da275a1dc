r"""Difference: it sends "Welcome" first, and responds with "Hello world!\r\n" instead of Hello World."""
import select
import socket
import sys

to_monitor = []


def accept_connection(server_socket):
    client_socket, addr = server_socket.accept()
    to_monitor.append(client_socket)
    try:
        client_socket.sendall(b"Welcome\n")
    except OSError:
        remove(client_socket)


def send_message(client_socket):
    try:
        request = client_socket.recv(4096)
        if not request:
            remove(client_socket)
        else:
            client_socket.sendall(b"Hello world!\r\n")
    except OSError:
        remove(client_socket)


def remove(client_socket):
    to_monitor.remove(client_socket)
    client_socket.close()


server_socket = socket.socket()
server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server_socket.bind(("127.0.0.1", int(sys.argv[1])))
server_socket.listen()
to_monitor.append(server_socket)

while True:
    readable, _, _ = select.select(to_monitor, [], [])
    for sock in readable:
        accept_connection(sock) if sock is server_socket else send_message(sock)
