/* wake COUNT PAUSE_US
 *
 * The lowest cost of waking a thread that waits for sockets: one thread writes to an eventfd, another one waits for it
 * in epoll. Prints one line of JSON with the median and the 99th percentile of COUNT wakes, in microseconds. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common.h"

static int event, epoll, count;
static atomic_llong woken_at;
static atomic_int handled;
static double *latencies;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *serve(void *unused) {
    for (int i = 0; i < count; i++) {
        struct epoll_event ready;
        uint64_t value;
        check(epoll_wait(epoll, &ready, 1, -1), "epoll_wait");
        check(read(event, &value, sizeof value), "read");
        latencies[i] = (now_ns() - atomic_load(&woken_at)) / 1e3;
        atomic_store(&handled, i + 1);
    }
    return unused;
}

static int compare(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    if (argc != 3 || atoi(argv[1]) < 1) {
        fprintf(stderr, "usage: wake COUNT PAUSE_US\n");
        return 2;
    }
    count = atoi(argv[1]);
    struct timespec pause = {.tv_nsec = atol(argv[2]) * 1000};
    latencies = calloc(count, sizeof *latencies);
    event = eventfd(0, EFD_NONBLOCK);
    check(event, "eventfd");
    epoll = epoll_create1(0);
    check(epoll, "epoll_create1");
    struct epoll_event watched = {.events = EPOLLIN};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &watched), "epoll_ctl");
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, NULL) != 0) {
        fprintf(stderr, "wake: cannot create a thread\n");
        return 1;
    }
    for (int i = 0; i < count; i++) {
        uint64_t one = 1;
        do
            nanosleep(&pause, NULL);
        while (atomic_load(&handled) != i);
        atomic_store(&woken_at, now_ns());
        check(write(event, &one, sizeof one), "write");
    }
    pthread_join(thread, NULL);
    qsort(latencies, count, sizeof *latencies, compare);
    printf("{\"median_us\": %.3f, \"p99_us\": %.3f}\n", latencies[count / 2], latencies[count * 99 / 100]);
    return 0;
}
