// A client with ZooKeeper's C library that works on until it is told to stop, whatever happens to
// the servers: zookeeper_worker HOSTS PATH. It owns the ephemeral node PATH/alive, counts up in
// PATH/count, each time only if nobody else has, and watches PATH/stop. Prints "started", a line
// for each count that was acknowledged, and at the end "stopped ACKNOWLEDGED UNKNOWN". Exits 1 with
// its session.
//
// Compile with -DTHREADED -lzookeeper_mt.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

enum { kPatience = 3000, kSessionMs = 10000 };  // tries of 10 ms

static volatile int stopped;

static void pause_ms(long ms) {
  const struct timespec span = {0, ms * 1000000};
  nanosleep(&span, NULL);
}

static void fail(const char* what, int code) {
  fprintf(stderr, "zookeeper_worker: %s: %s\n", what, zerror(code));
  exit(1);
}

static void on_session(zhandle_t* handle, int type, int state, const char* path, void* context) {
  (void)handle, (void)path, (void)context;
  if (type == ZOO_SESSION_EVENT && state == ZOO_EXPIRED_SESSION_STATE) {
    fail("its session", ZSESSIONEXPIRED);
  }
}

static void on_stop(zhandle_t* handle, int type, int state, const char* path, void* context) {
  (void)handle, (void)state, (void)path, (void)context;
  if (type == ZOO_CHANGED_EVENT) stopped = 1;
}

static int is_passing(int code) { return code == ZCONNECTIONLOSS || code == ZOPERATIONTIMEOUT; }

// The next number, if it is known that it was written; 0: it is not; -1: certainly not.
static long count_up(zhandle_t* handle, const char* path) {
  char data[32];
  int length = sizeof data - 1;
  struct Stat stat;
  int code = zoo_get(handle, path, 0, data, &length, &stat);
  if (is_passing(code)) return -1;
  if (code != ZOK) fail("get", code);
  data[length < 0 ? 0 : length] = 0;
  const long next = atol(data) + 1;
  const int written = snprintf(data, sizeof data, "%ld", next);
  code = zoo_set(handle, path, data, written, stat.version);
  if (code == ZOK) return next;
  // A request whose connection was lost may still have been done just now.
  if (code == ZBADVERSION) return -1;
  if (!is_passing(code)) fail("set", code);
  return 0;
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  char path[256], stop[256], alive[256];
  snprintf(path, sizeof path, "%s/count", arguments[2]);
  snprintf(stop, sizeof stop, "%s/stop", arguments[2]);
  snprintf(alive, sizeof alive, "%s/alive", arguments[2]);
  setvbuf(stdout, NULL, _IOLBF, 0);
  zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
  zhandle_t* handle = zookeeper_init(arguments[1], on_session, kSessionMs, NULL, NULL, 0);
  if (handle == NULL) return 2;
  for (int tries = 0; zoo_state(handle) != ZOO_CONNECTED_STATE; ++tries) {
    if (tries == kPatience) fail("connecting", ZCONNECTIONLOSS);
    pause_ms(10);
  }
  int code = zoo_create(handle, alive, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0);
  if (code != ZOK) fail("create", code);
  char nothing[8];
  int length = sizeof nothing;
  code = zoo_wget(handle, stop, on_stop, NULL, nothing, &length, NULL);
  if (code != ZOK) fail("watch", code);
  printf("started\n");
  long acknowledged = 0, unknown = 0;
  while (!stopped) {
    const long number = count_up(handle, path);
    if (number > 0) {
      ++acknowledged;
      printf("%ld\n", number);
    }
    unknown += number == 0;
    pause_ms(number > 0 ? 2 : 50);
  }
  printf("stopped %ld %ld\n", acknowledged, unknown);
  zookeeper_close(handle);
  return 0;
}
