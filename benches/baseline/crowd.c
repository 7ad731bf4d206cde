/* crowd echo|broadcast tcp|PATH PORT CLIENTS SECONDS WINDOW
 *
 * Clients that exchange messages of 64 bytes with a server, over TCP or, if a PATH is given, over WebSocket.
 *
 * echo: each client sends a message, waits for it to come back, and sends again.
 * broadcast: the first client sends, and every client, the first one too, must get each message. A message is sent
 * when all clients have everything but the last WINDOW - 1 messages.
 *
 * One thread, epoll. Prints `ready` when every client is connected and served, waits for a line, and works for
 * SECONDS. Then prints one line of JSON, and keeps the connections open until the end of its input, so that the server
 * can be measured with them. */

#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { SIZE = 64, BATCH = 256, SETTLED_MS = 200, SILENCE_MS = 5000, MAX_WINDOW = 64, MAX_PROBES = 50 };

struct client {
    int fd;
    long received; /* bytes */
};

static struct client *clients;
static int count, epoll, window;
static char request[SIZE + 8];
static int request_size, answer_size; /* of one message, with its frame */

static void fail(const char *why) {
    fprintf(stderr, "crowd: %s\n", why);
    exit(1);
}

/* The frames of RFC 6455 §5.2: the client's are masked, here with zeros. */
static void make_message(int web) {
    int head = web ? 6 : 0;
    memset(request, 0, sizeof request);
    memset(request + head, 'x', SIZE);
    if (web) {
        request[0] = (char)0x82; /* the last frame of a binary message */
        request[1] = (char)(0x80 | SIZE);
    }
    request_size = head + SIZE;
    answer_size = (web ? 2 : 0) + SIZE;
}

static void upgrade(int fd, const char *path) {
    char text[1024], *end;
    size_t length = 0;
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        path);
    check(send(fd, text, size, 0), "send");
    do {
        ssize_t more = recv(fd, text + length, sizeof text - 1 - length, 0);
        check(more, "recv");
        if (more == 0)
            fail("the server closed a connection that asked for WebSocket");
        length += more;
        text[length] = 0;
    } while (!(end = strstr(text, "\r\n\r\n")));
    if (strncmp(text, "HTTP/1.1 101", 12) != 0 || end + 4 != text + length)
        fail("the server does not speak WebSocket");
}

static void open_client(struct client *client, int port, const char *path) {
    struct sockaddr_in address = loopback(port);
    int on = 1;
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    check(client->fd, "socket");
    check(connect(client->fd, (struct sockaddr *)&address, sizeof address), "connect");
    check(setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    if (path)
        upgrade(client->fd, path);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event), "epoll_ctl");
}

static void ping(struct client *client) {
    check(send(client->fd, request, request_size, 0), "send");
}

static void take(struct client *client) {
    char answer[8192];
    ssize_t size = recv(client->fd, answer, sizeof answer, 0);
    check(size, "recv");
    if (size == 0)
        fail("the server closed a connection");
    client->received += size;
}

/* Reads what arrives until nothing has arrived for SETTLED_MS. */
static void settle(void) {
    struct epoll_event events[BATCH];
    int ready;
    while ((ready = epoll_wait(epoll, events, BATCH, SETTLED_MS)) > 0)
        for (int i = 0; i < ready; i++)
            take(events[i].data.ptr);
    check(ready, "epoll_wait");
}

/* Waits until every client has received a message. Then the server serves all of them. */
static void wait_until_served(int broadcast) {
    for (int probe = 0; probe < MAX_PROBES; probe++) {
        int served = 0;
        for (int i = 0; i < (broadcast ? 1 : count); i++)
            if (broadcast || clients[i].received == 0)
                ping(&clients[i]);
        settle();
        for (int i = 0; i < count; i++)
            served += clients[i].received > 0;
        if (served == count) {
            for (int i = 0; i < count; i++)
                clients[i].received = 0;
            return;
        }
    }
    fail("the server does not answer every client");
}

int main(int argc, char **argv) {
    int broadcast = argc == 7 && strcmp(argv[1], "broadcast") == 0;
    if (argc != 7 || (!broadcast && strcmp(argv[1], "echo") != 0)) {
        fprintf(stderr, "usage: crowd echo|broadcast tcp|PATH PORT CLIENTS SECONDS WINDOW\n");
        return 2;
    }
    const char *path = argv[2][0] == '/' ? argv[2] : NULL;
    int port = atoi(argv[3]);
    double seconds = atof(argv[5]), start, elapsed;
    count = atoi(argv[4]);
    window = atoi(argv[6]);
    if (window < 1 || window > MAX_WINDOW || count < 1)
        fail("WINDOW must be 1 to 64, and CLIENTS at least 1");
    epoll = epoll_create1(0);
    check(epoll, "epoll_create1");
    clients = calloc(count, sizeof *clients);
    make_message(path != NULL);
    for (int i = 0; i < count; i++)
        open_client(&clients[i], port, path);
    wait_until_served(broadcast);
    printf("ready\n");
    fflush(stdout);
    getchar();

    /* broadcast: how many clients have each of the messages that are under way, and the number of the oldest one. */
    int complete[MAX_WINDOW] = {0};
    long messages = 0, oldest = 0;
    start = now();
    for (int i = 0; i < (broadcast ? window : count); i++)
        ping(&clients[broadcast ? 0 : i]);
    while ((elapsed = now() - start) < seconds) {
        struct epoll_event events[BATCH];
        int ready = epoll_wait(epoll, events, BATCH, SILENCE_MS);
        check(ready, "epoll_wait");
        if (ready == 0)
            fail("a message was lost");
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            long before = client->received / answer_size;
            take(client);
            for (long got = before; got < client->received / answer_size; got++) {
                messages++;
                if (broadcast)
                    complete[got % window]++;
                else
                    ping(client);
            }
        }
        while (broadcast && complete[oldest % window] == count) {
            complete[oldest++ % window] = 0;
            ping(&clients[0]);
        }
    }
    printf("{\"messages\": %ld, \"seconds\": %.6f, \"lost\": 0}\n", messages, elapsed);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
