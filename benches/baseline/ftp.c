/* ftp login HOST PORT USER SESSIONS SECONDS
 * ftp noop HOST PORT USER SESSIONS SECONDS DEPTH
 * ftp list|mlsd HOST PORT USER SESSIONS SECONDS
 * ftp put|get HOST PORT USER SESSIONS FILES BYTES
 * ftp idle HOST PORT USER SESSIONS
 *
 * The load of ftp.py: clients of an FTP server, each with an address of its own (127.0.0.2 and so on), so that no client
 * runs out of ports. Data connections are passive (EPSV) and made before the command that uses them, as curl and lftp do.
 *
 * login: each client connects, logs in, says QUIT and waits for the end, again and again.
 * noop: each client sends DEPTH commands in one write, and the next ones when all replies are there. One thread, epoll.
 * list, mlsd: each client lists the root directory again and again.
 * put, get: the clients share FILES files of BYTES bytes, named `file` and a number; those of put in the folder `in`.
 * idle: the clients do nothing.
 *
 * Prints `ready` when every client is logged in, waits for a line, and works. Then prints one line of JSON, and keeps
 * the connections open until the end of its input, so that the server can be measured with them. What fails ends the
 * program.
 *
 * The ports of the clients are below those of the system (32768 and above), if the kernel can do that (Linux 6.3): a port
 * at which a server has listened can't be the client's for a minute, and the machine would run out of them. */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

enum { FIRST_PORT = 10000, LAST_PORT = 32767 };
enum { PIECE = 64 << 10, LINE = 4096, MAX_SESSIONS = 1000, MAX_DEPTH = 512 };

struct session {
    int number, control;
    char buffer[LINE];
    size_t start, end;
    long done, bytes;
};

static struct session sessions[MAX_SESSIONS];
static int port, session_count;
static const char *host, *user, *mode;
static double seconds, until;
static long file_count, file_size;
static atomic_long next_file;

static void fail(const struct session *s, const char *wanted, const char *got) {
    fprintf(stderr, "ftp %s: session %d: wanted %s, got: %s\n", mode, s->number, wanted, got);
    exit(1);
}

static int open_connection(const struct session *s, int to) {
    struct sockaddr_in own = loopback(0), server = loopback(to);
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1)
        fail(s, "an address", host);
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + s->number % 250);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd, "socket");
    check(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on), "IP_BIND_ADDRESS_NO_PORT");
    unsigned range = (unsigned)LAST_PORT << 16 | FIRST_PORT;
    setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range);
    check(bind(fd, (struct sockaddr *)&own, sizeof own), "bind");
    check(connect(fd, (struct sockaddr *)&server, sizeof server), "connect");
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    return fd;
}

static void send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        check(sent, "send");
        bytes += sent;
        length -= sent;
    }
}

static void command(struct session *s, const char *verb, const char *argument) {
    char line[256];
    int length = snprintf(line, sizeof line, *argument ? "%s %s\r\n" : "%s%s\r\n", verb, argument);
    send_all(s->control, line, length);
}

/* Reads one line, without its end; an empty one at the end of the connection. */
static char *read_line(struct session *s) {
    for (;;) {
        char *from = s->buffer + s->start;
        char *end = memchr(from, '\n', s->end - s->start);
        if (end) {
            *end = 0;
            s->start = end + 1 - s->buffer;
            return from;
        }
        memmove(s->buffer, from, s->end - s->start);
        s->end -= s->start;
        s->start = 0;
        if (s->end == sizeof s->buffer)
            fail(s, "a line", "a longer one");
        ssize_t more = recv(s->control, s->buffer + s->end, sizeof s->buffer - s->end, 0);
        check(more, "recv");
        if (more == 0)
            return "";
        s->end += more;
    }
}

/* Reads one reply, which may have several lines. Gives its last line. */
static char *reply(struct session *s, const char *wanted) {
    char *line;
    do
        line = read_line(s);
    while (strlen(line) > 3 && (line[3] == '-' || line[3] != ' '));
    if (strncmp(line, wanted, strlen(wanted)) != 0)
        fail(s, wanted, line);
    return line;
}

static void log_in(struct session *s) {
    s->start = s->end = 0;
    s->control = open_connection(s, port);
    reply(s, "220");
    command(s, "USER", user);
    reply(s, "331");
    command(s, "PASS", "bench");
    reply(s, "230");
}

static int open_data(struct session *s) {
    int to = 0;
    command(s, "EPSV", "");
    char *line = reply(s, "229");
    char *at = strstr(line, "(|||");
    if (!at || sscanf(at, "(|||%d|)", &to) != 1)
        fail(s, "a port", line);
    return open_connection(s, to);
}

/* Reads a data connection to its end. Gives the number of bytes. */
static long drain(int data) {
    static _Thread_local char piece[PIECE];
    long bytes = 0;
    for (;;) {
        ssize_t count = recv(data, piece, sizeof piece, 0);
        check(count, "recv");
        if (count == 0)
            break;
        bytes += count;
    }
    close(data);
    return bytes;
}

static void fetch(struct session *s, const char *verb, const char *argument) {
    int data = open_data(s);
    command(s, verb, argument);
    reply(s, "1");
    s->bytes = drain(data);
    reply(s, "226");
    s->done++;
}

static void store(struct session *s, const char *name) {
    static char piece[PIECE];
    int data = open_data(s);
    command(s, "STOR", name);
    reply(s, "1");
    for (long left = file_size; left > 0; left -= PIECE)
        send_all(data, piece, left < PIECE ? left : PIECE);
    close(data);
    reply(s, "226");
    s->done++;
}

static void *work(void *argument) {
    struct session *s = argument;
    char name[32];
    if (!strcmp(mode, "login")) {
        for (; now() < until; s->done++) {
            log_in(s);
            command(s, "QUIT", "");
            reply(s, "221");
            while (*read_line(s))
                ;
            close(s->control);
        }
    } else if (!strcmp(mode, "list") || !strcmp(mode, "mlsd")) {
        while (now() < until)
            fetch(s, *mode == 'l' ? "LIST" : "MLSD", "");
    } else {
        for (long number; (number = atomic_fetch_add(&next_file, 1)) < file_count;) {
            snprintf(name, sizeof name, *mode == 'p' ? "in/file%ld" : "file%ld", number);
            if (*mode == 'p') {
                store(s, name);
                continue;
            }
            fetch(s, "RETR", name);
            if (s->bytes != file_size)
                fail(s, "a whole file", name);
        }
    }
    return NULL;
}

static void work_all(void) {
    static pthread_t threads[MAX_SESSIONS];
    for (int i = 0; i < session_count; i++)
        if (pthread_create(&threads[i], NULL, work, &sessions[i]) != 0)
            fail(&sessions[i], "a thread", "none");
    for (int i = 0; i < session_count; i++)
        pthread_join(threads[i], NULL);
}

static void noop(int depth) {
    static char request[6 * MAX_DEPTH];
    static int missing[MAX_SESSIONS];
    int epoll = epoll_create1(0);
    check(epoll, "epoll_create1");
    if (depth < 1 || depth > MAX_DEPTH)
        fail(sessions, "a depth", "another number");
    for (int i = 0; i < depth; i++)
        memcpy(request + 6 * i, "NOOP\r\n", 6);
    for (int i = 0; i < session_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        check(epoll_ctl(epoll, EPOLL_CTL_ADD, sessions[i].control, &event), "epoll_ctl");
        send_all(sessions[i].control, request, 6 * depth);
        missing[i] = depth;
    }
    while (now() < until) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, 1000);
        check(ready, "epoll_wait");
        for (int e = 0; e < ready; e++) {
            int i = events[e].data.u32;
            char answer[PIECE];
            ssize_t count = recv(sessions[i].control, answer, sizeof answer, 0);
            check(count, "recv");
            if (count == 0)
                fail(&sessions[i], "a reply", "the end");
            for (char *at = answer; (at = memchr(at, '\n', answer + count - at)); at++) {
                sessions[i].done++;
                missing[i]--;
            }
            if (missing[i] == 0) {
                send_all(sessions[i].control, request, 6 * depth);
                missing[i] = depth;
            }
        }
    }
}

static void wait_for_input(void) {
    char byte;
    ssize_t count = read(0, &byte, 1);
    check(count, "read");
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: ftp MODE HOST PORT USER SESSIONS ...\n");
        return 2;
    }
    mode = argv[1];
    host = argv[2];
    port = atoi(argv[3]);
    user = argv[4];
    session_count = atoi(argv[5]);
    if (session_count < 1 || session_count > MAX_SESSIONS)
        fail(sessions, "a number of sessions", argv[5]);
    int moves = !strcmp(mode, "put") || !strcmp(mode, "get");
    if (moves && argc > 7) {
        file_count = atol(argv[6]);
        file_size = atol(argv[7]);
    } else if (argc > 6) {
        seconds = atof(argv[6]);
    }
    for (int i = 0; i < session_count; i++) {
        sessions[i].number = i;
        if (!strcmp(mode, "login"))
            continue;
        log_in(&sessions[i]);
        command(&sessions[i], "TYPE", "I");
        reply(&sessions[i], "200");
    }
    printf("ready\n");
    fflush(stdout);
    wait_for_input();
    double begun = now();
    until = begun + seconds;
    if (!strcmp(mode, "noop"))
        noop(argc > 7 ? atoi(argv[7]) : 1);
    else if (strcmp(mode, "idle") != 0)
        work_all();
    double took = now() - begun;
    long done = 0, bytes = 0;
    for (int i = 0; i < session_count; i++) {
        done += sessions[i].done;
        bytes += sessions[i].bytes;
    }
    printf("{\"done\": %ld, \"seconds\": %.6f, \"last_bytes\": %ld}\n", done, took, bytes);
    fflush(stdout);
    wait_for_input();
    return 0;
}
