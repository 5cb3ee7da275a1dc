"""Mistake: try/except is around the whole loop, so the first error ends the server without a traceback."""
from select import select
import socket
import sys

to_monitor = []


def accept_connection(server_socket):
    client_socket, address = server_socket.accept()
    to_monitor.append(client_socket)


def send_message(client_socket):
    request = client_socket.recv(4096)

    if request:
        client_socket.sendall('Hello World\n'.encode())
    else:
        to_monitor.remove(client_socket)
        client_socket.close()


def main():
    server_socket = socket.socket()
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.bind(('127.0.0.1', int(sys.argv[1])))
    server_socket.listen()
    to_monitor.append(server_socket)
    try:
        while True:
            ready_to_read, _, _ = select(to_monitor, [], [])
            for sock in ready_to_read:
                if sock is server_socket:
                    accept_connection(sock)
                else:
                    send_message(sock)
    except Exception:
        print('Server stopped')


main()
