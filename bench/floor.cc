// The least that an acknowledged write can take here: medians, in microseconds, of one fdatasync of
// a 4 KiB block in a preallocated file, and of one round trip over loopback between two processes.
// Both are timed in turns, as a lone client causes them. Shares no code with the server.
//
//   bench-floor DIRECTORY     prints JSON

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int kRounds = 1'000;
constexpr std::size_t kBlockBytes = 4'096;
constexpr std::size_t kMessageBytes = 320;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "bench-floor: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

template <class Work>
double timed_us(Work work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began)
      .count();
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void pass_on(int socket, const std::array<char, kMessageBytes>& message) {
  require(send(socket, message.data(), message.size(), MSG_NOSIGNAL) == kMessageBytes, "send");
}

bool take(int socket, std::array<char, kMessageBytes>& message) {
  return recv(socket, message.data(), message.size(), MSG_WAITALL) == kMessageBytes;
}

// A socket whose other end is another process that sends back what it gets.
int echoing_process() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  require(bind(listener, any, length) == 0 && listen(listener, 1) == 0, "listen");
  require(getsockname(listener, any, &length) == 0, "getsockname");
  const int mine = socket(AF_INET, SOCK_STREAM, 0);
  require(connect(mine, any, length) == 0, "connect");
  const int other = accept(listener, nullptr, nullptr);
  require(other >= 0, "accept");
  const int on = 1;
  setsockopt(mine, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(other, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  close(listener);
  const pid_t child = fork();
  require(child >= 0, "fork");
  if (child != 0) {
    close(other);
    return mine;
  }
  close(mine);
  for (std::array<char, kMessageBytes> message{}; take(other, message);) pass_on(other, message);
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  require(argc == 2, "one argument, a directory");
  const int echo = echoing_process();
  const std::string path = std::string(argv[1]) + "/floor.probe";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  require(file >= 0, path.c_str());
  unlink(path.c_str());
  require(posix_fallocate(file, 0, kRounds * kBlockBytes) == 0 && fsync(file) == 0, "fallocate");
  std::vector<double> syncs;
  std::vector<double> trips;
  const std::string block(kBlockBytes, 'x');
  std::array<char, kMessageBytes> message{};
  for (int i = 0; i < kRounds; ++i) {
    const auto at = static_cast<off_t>(static_cast<std::size_t>(i) * kBlockBytes);
    syncs.push_back(timed_us([&] {
      require(pwrite(file, block.data(), block.size(), at) == kBlockBytes, "pwrite");
      require(fdatasync(file) == 0, "fdatasync");
    }));
    trips.push_back(timed_us([&] {
      pass_on(echo, message);
      require(take(echo, message), "recv");
    }));
  }
  close(echo);
  wait(nullptr);
  std::printf("{\"fdatasync_us\": %.1f, \"loopback_us\": %.1f}\n", median(syncs), median(trips));
  return 0;
}
