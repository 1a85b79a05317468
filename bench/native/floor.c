/* The floor: a client that decodes nothing. For whatever arrives on the market session it sends one prebuilt order frame.
 *
 * floor MARKET_FD ORDER_FD HEX_OF_ORDER_FRAME: both descriptors are connected, upgraded and subscribed. It busy-polls the
 * market session and, when that is quiet, throws away what the order session says. Ends with the market session.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    static unsigned char order[1024], market[65536], answers[65536];
    if (argc != 4) {
        fprintf(stderr, "usage: floor MARKET_FD ORDER_FD HEX\n");
        return 2;
    }
    int market_fd = atoi(argv[1]), order_fd = atoi(argv[2]);
    size_t size = strlen(argv[3]) / 2;
    if (size == 0 || size > sizeof order)
        return 2;
    for (size_t k = 0; k < size; k++) {
        unsigned int byte;
        if (sscanf(argv[3] + 2 * k, "%2x", &byte) != 1)
            return 2;
        order[k] = (unsigned char)byte;
    }
    for (unsigned long idle = 0;;) {
        ssize_t got = recv(market_fd, market, sizeof market, MSG_DONTWAIT);
        if (got > 0) {
            if (send(order_fd, order, size, MSG_NOSIGNAL) != (ssize_t)size)
                return 1;
            idle = 0;
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            return 0;
        } else if ((++idle & 15) == 0 && recv(order_fd, answers, sizeof answers, MSG_DONTWAIT) == 0) {
            return 0;
        }
    }
}
