/* Mistake: SIGPIPE is not ignored, so a response to a client that has reset its connection ends the server. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in addr = {0};
    addr.sin_family = AF_INET;
    addr.sin_port = htons(argc > 1 ? atoi(argv[1]) : 5000);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(server, 128) < 0)
        return 1;
    fd_set to_monitor;
    FD_ZERO(&to_monitor);
    FD_SET(server, &to_monitor);
    for (;;) {
        fd_set ready = to_monitor;
        if (select(FD_SETSIZE, &ready, NULL, NULL, NULL) < 0)
            continue;
        for (int fd = 0; fd < FD_SETSIZE; fd++) {
            char request[4096];
            if (FD_ISSET(fd, &ready) && fd == server) {
                int client = accept(server, NULL, NULL);
                if (client >= FD_SETSIZE)
                    close(client);
                else if (client >= 0)
                    FD_SET(client, &to_monitor);
            } else if (FD_ISSET(fd, &ready)) {
                if (recv(fd, request, sizeof request, 0) > 0) {
                    send(fd, "Hello World", 11, 0); /* On Linux this call fails with ECONNRESET. */
                    send(fd, "\n", 1, 0);           /* This call raises SIGPIPE. */
                } else {
                    FD_CLR(fd, &to_monitor);
                    close(fd);
                }
            }
        }
    }
}
