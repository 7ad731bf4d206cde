/* bulk sink | bulk send PORT MIB
 *
 * sink: a server that drops all input unread and answers the end of file with one byte.
 * send: sends MIB mebibytes over one connection and waits for that byte. Ends with one line of JSON. */

#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { BUFFER_SIZE = 256 * 1024, MIB = 1 << 20 };

static int open_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd, "socket");
    return fd;
}

static _Noreturn void sink(void) {
    static char buffer[BUFFER_SIZE];
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int listener = open_socket();
    check(bind(listener, (struct sockaddr *)&address, length), "bind");
    check(listen(listener, 1024), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    printf("sink listening on tcp://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        ssize_t count;
        check(client, "accept");
        /* MSG_TRUNC drops the bytes without a copy: this program must not be what limits the speed. */
        while ((count = recv(client, buffer, sizeof buffer, MSG_TRUNC)) > 0) {
        }
        if (count == 0)
            check(send(client, "", 1, MSG_NOSIGNAL), "send");
        close(client);
    }
}

static int send_bytes(int port, long mib) {
    static char buffer[BUFFER_SIZE];
    struct sockaddr_in address = loopback(port);
    int fd = open_socket();
    double start = now(), seconds;
    char answer;
    memset(buffer, 'x', sizeof buffer);
    check(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    for (long left = mib * MIB; left > 0;) {
        ssize_t count = write(fd, buffer, left < BUFFER_SIZE ? left : BUFFER_SIZE);
        check(count, "write");
        left -= count;
    }
    check(shutdown(fd, SHUT_WR), "shutdown");
    if (recv(fd, &answer, 1, 0) != 1) {
        fprintf(stderr, "bulk: the answer is missing\n");
        return 1;
    }
    seconds = now() - start;
    printf("{\"mib\": %ld, \"seconds\": %.6f}\n", mib, seconds);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "sink") == 0)
        sink();
    if (argc == 4 && strcmp(argv[1], "send") == 0)
        return send_bytes(atoi(argv[2]), atol(argv[3]));
    fprintf(stderr, "usage: bulk sink | bulk send PORT MIB\n");
    return 2;
}
