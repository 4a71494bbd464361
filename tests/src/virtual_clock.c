/* Preloaded into a server: its wall clock shows the Unix microseconds that stand in the file named by PRESENCE_TEST_CLOCK,
 * and moves on by the microseconds that stand behind them each time that it is read. All other clocks stay as they are,
 * so that timers fire. Until the file is open the wall clock is the system's: allocators read a clock before
 * constructors run. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct {
  _Atomic int64_t now;
  int64_t step;
} *shown_us;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("PRESENCE_TEST_CLOCK");
  int file = path ? open(path, O_RDWR) : -1;
  void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(*shown_us), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) {
    abort();
  }
  shown_us = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  if (!shown_us || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) {
    return (int)syscall(SYS_clock_gettime, clock, now);
  }
  int64_t us = shown_us->now += shown_us->step;
  now->tv_sec = us / 1000000;
  now->tv_nsec = us % 1000000 * 1000;
  return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec time;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &time);
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *seconds) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (seconds) {
    *seconds = now.tv_sec;
  }
  return now.tv_sec;
}
