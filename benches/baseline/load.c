/* load tcp|udp PORT CLIENTS SECONDS
 *
 * Each client plays ping-pong: it sends 64 bytes, waits for them all to come back, and sends again. One thread,
 * epoll. Ends with one line of JSON. A datagram without an answer for a second is sent again and counted as lost. */

#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { SIZE = 64, BATCH = 64, SILENCE_MS = 1000 };

struct client {
    int fd;
    int missing;   /* bytes of the answer still to come */
    double sent;   /* when it sent last, in seconds since the start */
};

static char message[SIZE];

static void ping(struct client *client, double at) {
    check(send(client->fd, message, SIZE, 0), "send");
    client->missing = SIZE;
    client->sent = at;
}

static void open_client(struct client *client, int epoll, int type, int port) {
    struct sockaddr_in address = loopback(port);
    int on = 1;
    client->fd = socket(AF_INET, type, 0);
    check(client->fd, "socket");
    check(connect(client->fd, (struct sockaddr *)&address, sizeof address), "connect");
    if (type == SOCK_STREAM)
        check(setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event), "epoll_ctl");
}

/* Returns 1 when the answer is whole. */
static int pong(struct client *client) {
    char answer[SIZE];
    ssize_t count = recv(client->fd, answer, client->missing, 0);
    check(count, "recv");
    if (count == 0) {
        fprintf(stderr, "load: the server closed a connection\n");
        exit(1);
    }
    client->missing -= count;
    return client->missing == 0;
}

int main(int argc, char **argv) {
    int udp = argc == 5 && strcmp(argv[1], "udp") == 0, tcp = argc == 5 && strcmp(argv[1], "tcp") == 0;
    if (!udp && !tcp) {
        fprintf(stderr, "usage: load tcp|udp PORT CLIENTS SECONDS\n");
        return 2;
    }
    int port = atoi(argv[2]), count = atoi(argv[3]), epoll = epoll_create1(0);
    double seconds = atof(argv[4]);
    check(epoll, "epoll_create1");
    struct client *clients = calloc(count, sizeof *clients);
    memset(message, 'x', SIZE);
    for (int i = 0; i < count; i++)
        open_client(&clients[i], epoll, udp ? SOCK_DGRAM : SOCK_STREAM, port);

    long messages = 0, lost = 0;
    double start = now(), elapsed, looked = 0;
    for (int i = 0; i < count; i++)
        ping(&clients[i], 0);
    while ((elapsed = now() - start) < seconds) {
        struct epoll_event events[BATCH];
        int ready = epoll_wait(epoll, events, BATCH, SILENCE_MS);
        check(ready, "epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (pong(client)) {
                messages++;
                ping(client, elapsed);
            }
        }
        if (tcp || elapsed - looked < 1)
            continue;
        looked = elapsed;
        for (int i = 0; i < count; i++) {
            if (elapsed - clients[i].sent > 1) {
                lost++;
                ping(&clients[i], elapsed);
            }
        }
    }
    printf("{\"messages\": %ld, \"seconds\": %.6f, \"lost\": %ld}\n", messages, elapsed, lost);
    return 0;
}
