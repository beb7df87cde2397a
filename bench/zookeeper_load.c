// Loads a server of ZooKeeper's protocol through ZooKeeper's own C client: one kind of operation, with
// a fixed number in flight on each of some connections, for some seconds.
//
//   zookeeper_load HOSTS OPERATION IN_FLIGHT CONNECTIONS SECONDS BYTES
//
// HOSTS: "host:port" separated by blanks; connections take them in turns. OPERATION: set, create, get or
// mixed (nine gets to a set). Each connection works on nodes of its own, below /bench. Prints JSON, and ends with an
// error unless every request has succeeded, every get has brought the right data, and the nodes' versions and numbers of
// children say that each write was done once.
//
// One thread does it all: the client's other library, with a thread or two for each connection, spends more on waking
// them than both systems on most requests. Compile with -l:libzookeeper_st.so.2.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

enum { kMostConnections = 1024, kBuckets = 4096, kPerDoubling = 64, kPatienceSeconds = 30 };

enum Operation { kSet, kCreate, kGet, kMixed };

struct Connection {
  zhandle_t* handle;
  char path[64];
  long begun, done, writes;
  long counted;  // done before the deadline
  unsigned buckets[kBuckets];  // latencies of these
};

struct Request {
  struct Connection* connection;
  double begun;
};

static enum Operation operation;
static double deadline;
static int bytes;
static char* data;
static struct Connection* all;
static int connections;  // of them, those that have been made
static int finished;  // chains of requests that have ended

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "zookeeper_load: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  exit(1);
}

static void check(int code, const char* what) {
  if (code != ZOK) fail("%s: %s", what, zerror(code));
}

// Buckets are a 64th of a doubling wide, from a microsecond on.
static int bucket_of(double us) {
  int bucket = 0;
  double bound = 1;
  while (us >= 2 * bound && bucket < kBuckets - kPerDoubling) {
    bound *= 2;
    bucket += kPerDoubling;
  }
  const int within = us < bound ? 0 : (int)((us - bound) / bound * kPerDoubling);
  return bucket + (within < kPerDoubling ? within : kPerDoubling - 1);
}

static double upper_us(int bucket) {
  double bound = 1;
  for (int i = 0; i < bucket / kPerDoubling; ++i) bound *= 2;
  return bound + bound * (bucket % kPerDoubling + 1) / kPerDoubling;
}

static void begin(struct Request* request);

static void ended(struct Request* request, int code) {
  check(code, request->connection->path);
  struct Connection* connection = request->connection;
  const double end = now();
  ++connection->done;
  if (end < deadline) {
    ++connection->counted;
    ++connection->buckets[bucket_of((end - request->begun) * 1e6)];
    return begin(request);
  }
  ++finished;
}

static void on_stat(int code, const struct Stat* stat, const void* context) {
  (void)stat;
  ended((struct Request*)context, code);
}

static void on_name(int code, const char* name, const void* context) {
  (void)name;
  ended((struct Request*)context, code);
}

static void on_data(int code, const char* value, int length, const struct Stat* stat,
                    const void* context) {
  (void)stat;
  if (code == ZOK && (length != bytes || memcmp(value, data, (size_t)bytes) != 0)) {
    fail("%d bytes that nobody wrote", length);
  }
  ended((struct Request*)context, code);
}

static void begin(struct Request* request) {
  struct Connection* connection = request->connection;
  const long number = connection->begun++;
  const int is_set = operation == kSet || (operation == kMixed && number % 10 == 9);
  request->begun = now();
  int code = ZOK;
  if (operation == kCreate) {
    char path[96];
    ++connection->writes;
    snprintf(path, sizeof path, "%s/%ld", connection->path, number);
    code = zoo_acreate(connection->handle, path, data, bytes, &ZOO_OPEN_ACL_UNSAFE, 0, on_name,
                       request);
  } else if (is_set) {
    ++connection->writes;
    code = zoo_aset(connection->handle, connection->path, data, bytes, -1, on_stat, request);
  } else {
    code = zoo_aget(connection->handle, connection->path, 0, on_data, request);
  }
  check(code, "a request");
}

static void cork(int descriptor, int on) {
  setsockopt(descriptor, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

// Waits for all connections, and lets the client read and write what is there.
static void turn(void) {
  static struct pollfd polls[kMostConnections];
  int timeout_ms = 1000;
  for (int i = 0; i < connections; ++i) {
    int events = 0;
    struct timeval within = {1, 0};
    polls[i].fd = -1;
    polls[i].events = 0;
    const int code = zookeeper_interest(all[i].handle, &polls[i].fd, &events, &within);
    if (code != ZOK && code != ZCONNECTIONLOSS && code != ZOPERATIONTIMEOUT) check(code, "a connection");
    if (events & ZOOKEEPER_READ) polls[i].events |= POLLIN;
    if (events & ZOOKEEPER_WRITE) polls[i].events |= POLLOUT;
    const int ms = (int)(within.tv_sec * 1000 + within.tv_usec / 1000);
    if (ms < timeout_ms) timeout_ms = ms;
  }
  if (poll(polls, (nfds_t)connections, timeout_ms) < 0) fail("poll failed");
  for (int i = 0; i < connections; ++i) {
    int events = 0;
    if (polls[i].revents & (POLLIN | POLLHUP | POLLERR)) events |= ZOOKEEPER_READ;
    if (polls[i].revents & POLLOUT) events |= ZOOKEEPER_WRITE;
    // One answer at a time is read; ZNOTHING says that there is no other. The client writes a request in two pieces, each a
    // packet of its own: corked, what is asked in this turn goes together.
    if (events == 0) continue;
    cork(polls[i].fd, 1);
    while (events != 0) {
      const int code = zookeeper_process(all[i].handle, events);
      if (code == ZNOTHING) break;
      if (code != ZOK && zoo_state(all[i].handle) == ZOO_CONNECTED_STATE) check(code, "a connection");
      events = code == ZOK ? events & ZOOKEEPER_READ : 0;
    }
    cork(polls[i].fd, 0);
  }
}

// Calls are asynchronous; these wait for one.
struct Call {
  int ended;
  int code;
  char name[64];
  struct Stat stat;
};

static void on_called_stat(int code, const struct Stat* stat, const void* context) {
  struct Call* call = (struct Call*)context;
  call->ended = 1;
  call->code = code;
  if (code == ZOK) call->stat = *stat;
}

static void on_called_name(int code, const char* name, const void* context) {
  struct Call* call = (struct Call*)context;
  call->ended = 1;
  call->code = code;
  if (code == ZOK) snprintf(call->name, sizeof call->name, "%s", name);
}

static void finish(struct Call* call, const char* what) {
  const double patience = now() + kPatienceSeconds;
  while (!call->ended) {
    if (now() > patience) fail("%s: no answer", what);
    turn();
  }
}

static void make(struct Connection* connection, const char* host) {
  connection->handle = zookeeper_init(host, NULL, 30000, NULL, NULL, 0);
  if (connection->handle == NULL) fail("%s: no client", host);
  ++connections;
  const double patience = now() + kPatienceSeconds;
  while (zoo_state(connection->handle) != ZOO_CONNECTED_STATE) {
    if (now() > patience) fail("%s: no connection", host);
    turn();
  }
  struct Call parent = {0}, own = {0};
  check(zoo_acreate(connection->handle, "/bench", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, on_called_name,
                    &parent),
        "/bench");
  finish(&parent, "/bench");
  if (parent.code != ZNODEEXISTS) check(parent.code, "/bench");
  check(zoo_acreate(connection->handle, "/bench/c", data, bytes, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE,
                    on_called_name, &own),
        "/bench/c");
  finish(&own, "/bench/c");
  check(own.code, "/bench/c");
  snprintf(connection->path, sizeof connection->path, "%s", own.name);
}

// What the node itself says of the writes.
static void verify(const struct Connection* connection) {
  struct Call call = {0};
  check(zoo_aexists(connection->handle, connection->path, 0, on_called_stat, &call),
        connection->path);
  finish(&call, connection->path);
  check(call.code, connection->path);
  const long writes = operation == kCreate ? call.stat.numChildren : call.stat.version;
  if (writes != connection->writes) {
    fail("%s: %ld writes were acknowledged, and %ld done", connection->path, connection->writes,
         writes);
  }
}

int main(int count, char** arguments) {
  if (count != 7) fail("HOSTS OPERATION IN_FLIGHT CONNECTIONS SECONDS BYTES are needed");
  const char* names[] = {"set", "create", "get", "mixed"};
  for (operation = kSet; operation <= kMixed; ++operation) {
    if (strcmp(arguments[2], names[operation]) == 0) break;
  }
  if (operation > kMixed) fail("there is no operation %s", arguments[2]);
  const int in_flight = atoi(arguments[3]);
  const int wanted_connections = atoi(arguments[4]);
  const double wanted_s = atof(arguments[5]);
  bytes = atoi(arguments[6]);
  if (wanted_connections < 1 || wanted_connections > kMostConnections ||
      in_flight < wanted_connections || in_flight % wanted_connections != 0) {
    fail("each connection must have the same number in flight");
  }
  data = malloc((size_t)bytes + 1);
  memset(data, 'v', (size_t)bytes);
  zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);

  char* hosts[64];
  int host_count = 0;
  for (char* host = strtok(arguments[1], " "); host != NULL && host_count < 64;
       host = strtok(NULL, " ")) {
    hosts[host_count++] = host;
  }
  all = calloc((size_t)wanted_connections, sizeof *all);
  struct Request* requests = calloc((size_t)in_flight, sizeof *requests);
  for (int i = 0; i < wanted_connections; ++i) make(&all[i], hosts[i % host_count]);
  const double start = now();
  deadline = start + wanted_s;
  for (int i = 0; i < in_flight; ++i) {
    requests[i].connection = &all[i % connections];
  }
  for (int i = 0; i < in_flight; ++i) begin(&requests[i]);
  while (finished < in_flight) {
    turn();
    if (now() > deadline + kPatienceSeconds) fail("%d have no answer", in_flight - finished);
  }

  static unsigned buckets[kBuckets];
  long counted = 0;
  for (int i = 0; i < connections; ++i) {
    verify(&all[i]);
    counted += all[i].counted;
    for (int bucket = 0; bucket < kBuckets; ++bucket) buckets[bucket] += all[i].buckets[bucket];
  }
  double p50 = 0, p99 = 0;
  long below = 0;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    below += buckets[bucket];
    if (p50 == 0 && below * 100 >= counted * 50) p50 = upper_us(bucket);
    if (p99 == 0 && below * 100 >= counted * 99) p99 = upper_us(bucket);
  }
  printf("{\"requests\": %ld, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", counted,
         wanted_s, p50, p99);
  for (int i = 0; i < connections; ++i) zookeeper_close(all[i].handle);
  return 0;
}
