"""The article's first listing, call by call: two nested loops."""
import socket
import sys

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 5000

server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server_socket.bind(("localhost", PORT))
server_socket.listen()

while True:
    print("Before accept()", flush=True)
    client_socket, addr = server_socket.accept()
    print("Connection from", addr, flush=True)

    while True:
        print("Before recv()", flush=True)
        request = client_socket.recv(4096)
        if not request:
            break
        client_socket.send(b"Hello World\n")

    print("Outside the inner while", flush=True)
    client_socket.close()
