/* The least an echo server over TCP can do: one thread, level-triggered epoll, read and write of 64 bytes. */

#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
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
                watch(epoll, client);
                continue;
            }
            char message[64];
            ssize_t count = read(fd, message, sizeof message);
            if (count <= 0 || write(fd, message, count) != count)
                close(fd);
        }
    }
}
