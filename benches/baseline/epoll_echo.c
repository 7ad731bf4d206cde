/* The least an echo server over TCP can do: one thread, level-triggered epoll, read and write of 64 bytes. With the
   argument `challenge`, what `serve auth` can't save: 32 bytes first, one byte back for the answer, and no cryptography. */

#define _GNU_SOURCE /* accept4 */
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

int main(int argument_count, char **arguments) {
    const char *mode = argument_count > 1 ? arguments[1] : "echo";
    int challenges = strcmp(mode, "challenge") == 0;
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(listener, "socket");
    check(bind(listener, (struct sockaddr *)&address, length), "bind");
    check(listen(listener, 1024), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");

    int epoll = epoll_create1(0);
    check(epoll, "epoll_create1");
    watch(epoll, listener);
    printf("echo listening on tcp://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    static const char challenge[32];
    for (;;) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        check(ready, "epoll_wait");
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int on = 1, client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                check(client, "accept4");
                check(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
                if (challenges)
                    check(write(client, challenge, sizeof challenge), "write");
                watch(epoll, client);
                continue;
            }
            char message[64];
            ssize_t count = read(fd, message, sizeof message);
            if (challenges && count > 0) {
                message[0] = 'X';
                count = 1;
            }
            if (count <= 0 || write(fd, message, count) != count)
                close(fd);
        }
    }
}
