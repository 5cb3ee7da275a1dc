"""The article's second listing, call by call: the same in two functions."""
import socket
import sys

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 5000

server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server_socket.bind(("localhost", PORT))
server_socket.listen()


def accept_connection(server_socket):
    while True:
        print("Before accept()", flush=True)
        client_socket, addr = server_socket.accept()
        print("Connection from", addr, flush=True)
        send_message(client_socket)


def send_message(client_socket):
    while True:
        print("Before recv()", flush=True)
        request = client_socket.recv(4096)
        if not request:
            break
        client_socket.send(b"Hello World\n")

    client_socket.close()


if __name__ == "__main__":
    accept_connection(server_socket)
