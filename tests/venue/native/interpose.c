/* A preload library as a kernel-bypass stack is one: it stands in front of libc's recv, send, read and write and counts
 * the calls that reach it. `interposed(0..3)` tells the counts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

static _Atomic long counts[4];

long interposed(int which) { return counts[which]; }

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    static ssize_t (*next)(int, void *, size_t, int);
    if (!next) next = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    counts[0]++;
    return next(fd, data, size, flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    static ssize_t (*next)(int, const void *, size_t, int);
    if (!next) next = (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    counts[1]++;
    return next(fd, data, size, flags);
}

ssize_t read(int fd, void *data, size_t size)
{
    static ssize_t (*next)(int, void *, size_t);
    if (!next) next = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    counts[2]++;
    return next(fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    counts[3]++;
    return next(fd, data, size);
}
