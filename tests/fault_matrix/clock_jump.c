/* Preloaded into a process, makes its wall clock jump: CLOCK_JUMP_AFTER_MS after its start by CLOCK_JUMP_S
 * seconds, for good. The monotonic clock goes on as it is, as it does when a machine's clock is set. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long jump_s, after_ms;
static struct timespec start;

__attribute__((constructor)) static void begin(void) {
    const char *jump = getenv("CLOCK_JUMP_S"), *after = getenv("CLOCK_JUMP_AFTER_MS");
    jump_s = jump ? atol(jump) : 0;
    after_ms = after ? atol(after) : 0;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &start);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        struct timespec mono;
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &mono);
        long passed_ms = (mono.tv_sec - start.tv_sec) * 1000 + (mono.tv_nsec - start.tv_nsec) / 1000000;
        if (passed_ms >= after_ms) now->tv_sec += jump_s;
    }
    return (int)failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec wall;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &wall);
    now->tv_sec = wall.tv_sec;
    now->tv_usec = wall.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    if (now) *now = wall.tv_sec;
    return wall.tv_sec;
}
