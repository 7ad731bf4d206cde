/* What the baseline programs share. */

#ifndef COMMON_H
#define COMMON_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

/* Ends the program if a system call failed. */
static inline void check(ssize_t result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

/* Seconds of a clock that never goes back. */
static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* The loopback address with this port; 0 is any free port. */
static inline struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

#endif
