/* bulk sink | bulk send PORT MIB
 *
 * sink: a server that takes what comes, drops it unread, and answers the end of file with one byte.
 * send: sends MIB mebibytes over one connection and waits for that byte. Ends with one line of JSON. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 256 * 1024, MIB = 1 << 20 };

static void check(ssize_t result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int open_socket(struct sockaddr_in *address, int port) {
    *address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd, "socket");
    return fd;
}

static _Noreturn void sink(void) {
    static char piece[PIECE];
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = open_socket(&address, 0);
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
        while ((count = recv(client, piece, sizeof piece, MSG_TRUNC)) > 0) {
        }
        if (count == 0)
            check(send(client, "", 1, MSG_NOSIGNAL), "send");
        close(client);
    }
}

static int send_bytes(int port, long mib) {
    static char piece[PIECE];
    struct sockaddr_in address;
    int fd = open_socket(&address, port);
    double start = now(), seconds;
    char answer;
    memset(piece, 'x', sizeof piece);
    check(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    for (long left = mib * MIB; left > 0;) {
        ssize_t count = write(fd, piece, left < PIECE ? left : PIECE);
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
