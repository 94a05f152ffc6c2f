/*
 * The wait program: the first thing that runs in a container on a managed network.
 *
 * The agent makes it the container's entrypoint (/.r/r PROGRAM ARGUMENTS...). Docker starts the container without an
 * interface; this program sleeps until the network manager has given it eth0 and a default route, then becomes
 * PROGRAM. It is linked statically, because it has to run in every image, also in one without any library.
 *
 * It is woken by the kernel's notices about links and routes, so the wait ends with the attachment itself. A look
 * every now and then covers a notice that was lost.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define INTERFACE "eth0"
#define LOOK_AGAIN_MS 250
#define BUFFER 65536

static void fail(const char *what) {
    fprintf(stderr, "/.r/r: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* As process 1 nothing ends us unless we say so: without this, `docker stop` would take its full grace period. */
static void stopped(int number) { _exit(128 + number); }

static int interface_is_up(void) {
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("cannot look at the interfaces");
    strcpy(request.ifr_name, INTERFACE);
    int up = ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP);
    close(fd);
    return up;
}

/* 1: an IPv4 default route exists, 0: none, by a dump of the main table. */
static int has_default_route(void) {
    static char buffer[BUFFER];
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
    } request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .route = {.rtm_family = AF_INET},
    };
    int found = 0, done = 0;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || send(fd, &request, sizeof request, 0) < 0)
        fail("cannot look at the routes");
    while (!done) {
        ssize_t size = recv(fd, buffer, sizeof buffer, 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            break;
        for (struct nlmsghdr *each = (void *)buffer; NLMSG_OK(each, size); each = NLMSG_NEXT(each, size)) {
            if (each->nlmsg_type == NLMSG_DONE || each->nlmsg_type == NLMSG_ERROR) {
                done = 1;
                break;
            }
            struct rtmsg *route = NLMSG_DATA(each);
            if (route->rtm_dst_len == 0 && route->rtm_table == RT_TABLE_MAIN && route->rtm_type == RTN_UNICAST)
                found = 1;
        }
    }
    close(fd);
    return found;
}

static int notices(void) {
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("cannot listen for the network");
    return fd;
}

int main(int count, char **arguments) {
    static char buffer[BUFFER];
    if (count < 2) {
        fputs("usage: /.r/r PROGRAM [ARGUMENT...]\n", stderr);
        return 1;
    }
    signal(SIGTERM, stopped);
    signal(SIGINT, stopped);
    /* Listen first, look second: what happens in between is not missed. */
    struct pollfd wait = {.fd = notices(), .events = POLLIN};
    while (!interface_is_up() || !has_default_route()) {
        if (poll(&wait, 1, LOOK_AGAIN_MS) > 0)
            while (recv(wait.fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
                ;
    }
    close(wait.fd);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    execvp(arguments[1], arguments + 1);
    fail(arguments[1]);
}
