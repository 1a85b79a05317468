/* LD_PRELOAD: CLOCK_REALTIME and CLOCK_BOOTTIME with offsets, fsync and fdatasync with a delay: three int64 of ns in the file
   that CHAOS_CLOCKS names, to be changed at any time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offsets;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("CHAOS_CLOCKS");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (fd >= 0) {
        void *page = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED)
            offsets = page;
        close(fd);
    }
}

static void stall(void)
{
    int64_t ns = offsets ? offsets[2] : 0;
    struct timespec wait = {ns / 1000000000LL, ns % 1000000000LL};
    if (ns > 0)
        nanosleep(&wait, 0);
}

int fsync(int fd)
{
    stall();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd)
{
    stall();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int code = real(clock, at);
    if (!code && offsets && (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME)) {
        int64_t ns = at->tv_sec * 1000000000LL + at->tv_nsec + offsets[clock == CLOCK_BOOTTIME];
        at->tv_sec = ns / 1000000000LL;
        at->tv_nsec = ns % 1000000000LL;
    }
    return code;
}
