/* The least an echo server over UDP can do: recvfrom and sendto in a loop. */

#include <sys/socket.h>

#include "common.h"

int main(void) {
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int socket_ = socket(AF_INET, SOCK_DGRAM, 0);
    check(socket_, "socket");
    check(bind(socket_, (struct sockaddr *)&address, length), "bind");
    check(getsockname(socket_, (struct sockaddr *)&address, &length), "getsockname");
    printf("echo listening on udp://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    for (;;) {
        char message[2048];
        struct sockaddr_in client;
        length = sizeof client;
        ssize_t count = recvfrom(socket_, message, sizeof message, 0, (struct sockaddr *)&client, &length);
        check(count, "recvfrom");
        check(sendto(socket_, message, count, 0, (struct sockaddr *)&client, length), "sendto");
    }
}
