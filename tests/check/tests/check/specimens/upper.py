"""Difference: it responds with "ECHO: " and the request in capitals instead of Hello World."""
import select, socket, sys

class Client:
    def __init__(self, conn):
        conn.setblocking(False)
        self.conn, self.out = conn, b""

    def fileno(self):
        return self.conn.fileno()

    def serve(self):
        """Calls recv or send once. Returns False if the client has disconnected."""
        try:
            if not self.out:
                request = self.conn.recv(4096)
                if not request:
                    return False
                self.out = b"ECHO: " + request.upper()
            self.out = self.out[self.conn.send(self.out):]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

def main():
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen()
    clients = []
    while True:
        reading = [c for c in clients if not c.out]
        writing = [c for c in clients if c.out]
        readable, writable, _ = select.select([listener] + reading, writing, [])
        for ready in readable + writable:
            if ready is listener:
                clients.append(Client(listener.accept()[0]))
            elif not ready.serve():
                clients.remove(ready)
                ready.conn.close()

main()
