/* Where a server's time goes, by the processor's time-stamp counter: between its system calls, and inside of them.

   The kernel tells user mode from system mode by looking at its tick, 250 times a second, and what it takes to enter and
   to leave the kernel is user mode for it. This looks at each call instead. For servers of one thread that call recv(2)
   or read(2), send(2) or write(2), and epoll_wait(2), through libc:

       cc -O2 -shared -fPIC -o between_calls.so benches/between_calls.c -ldl
       LD_PRELOAD=$PWD/between_calls.so taskset -c 0 target/release/examples/yardstick
       taskset -c 1 wrk -c 64 -t 1 -d 10 http://127.0.0.1:8080/plaintext

   For every 30,000 answers a line on standard error, in nanoseconds: of each answer what the server did between calls,
   of each call what it took, and how many answers there were for each epoll_wait. An interval of more than 5 us between
   calls, or 25 us in one, is left out: something else ran. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { READ, WRITE, WAIT, CALLS };

static uint64_t left_at, entered_at, between, taken[CALLS], calls[CALLS];
static double ticks_per_ns;

/* How fast the counter goes. */
__attribute__((constructor)) static void measure_counter(void) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    uint64_t ticks = __rdtsc();
    usleep(50000);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double ns = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
    ticks_per_ns = (__rdtsc() - ticks) / ns;
}

static void report(void) {
    double answers = calls[WRITE];
    fprintf(stderr, "between calls %.0f, in a read %.0f, in a write %.0f, in a wait %.0f; %.2f answers a wait\n",
            between / ticks_per_ns / answers, taken[READ] / ticks_per_ns / (calls[READ] + 1),
            taken[WRITE] / ticks_per_ns / answers, taken[WAIT] / ticks_per_ns / (calls[WAIT] + 1),
            answers / (calls[WAIT] + 1));
    between = 0;
    for (int call = 0; call < CALLS; call++)
        taken[call] = calls[call] = 0;
}

static inline void enter(void) {
    entered_at = __rdtsc();
    uint64_t ticks = entered_at - left_at;
    if (left_at && ticks < 5000 * ticks_per_ns)
        between += ticks;
}

static inline void leave(int call) {
    uint64_t ticks = __rdtsc() - entered_at;
    if (ticks < 25000 * ticks_per_ns) {
        taken[call] += ticks;
        calls[call]++;
    }
    if (call == WAIT && calls[WRITE] >= 30000)
        report();
    left_at = __rdtsc();
}

#define WRAP(call, result, name, parameters, arguments)                                                               \
    result name parameters {                                                                                          \
        static result(*next) parameters;                                                                              \
        if (!next)                                                                                                    \
            next = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                                     \
        enter();                                                                                                      \
        result given = next arguments;                                                                                \
        leave(call);                                                                                                  \
        return given;                                                                                                 \
    }

WRAP(READ, ssize_t, recv, (int fd, void *to, size_t max, int flags), (fd, to, max, flags))
WRAP(READ, ssize_t, read, (int fd, void *to, size_t max), (fd, to, max))
WRAP(WRITE, ssize_t, send, (int fd, const void *from, size_t len, int flags), (fd, from, len, flags))
WRAP(WRITE, ssize_t, write, (int fd, const void *from, size_t len), (fd, from, len))
WRAP(WAIT, int, epoll_wait, (int fd, struct epoll_event *to, int max, int wait_ms), (fd, to, max, wait_ms))
WRAP(WAIT, int, epoll_pwait, (int fd, struct epoll_event *to, int max, int wait_ms, const sigset_t *mask),
     (fd, to, max, wait_ms, mask))
