"""Mistake: accept_connection calls recv at once, so a client that sends nothing blocks the loop."""
import socket
import sys
from select import select

to_monitor = []


def accept_connection(server_socket):
    client_socket, addr = server_socket.accept()
    to_monitor.append(client_socket)
    send_message(client_socket)


def send_message(client_socket):
    try:
        request = client_socket.recv(4096)
        if request:
            client_socket.sendall(b"Hello World\n")
            return
    except OSError:
        pass
    to_monitor.remove(client_socket)
    client_socket.close()


def event_loop(server_socket):
    to_monitor.append(server_socket)
    while True:
        ready, _, _ = select(to_monitor, [], [])
        for sock in ready:
            if sock is server_socket:
                accept_connection(sock)
            else:
                send_message(sock)


server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server_socket.bind(("127.0.0.1", int(sys.argv[1])))
server_socket.listen()
event_loop(server_socket)
