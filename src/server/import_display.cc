#include "server/import_display.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <boost/asio/read_until.hpp>
#include <csignal>
#include <cstdio>
#include <istream>
#include <utility>

#include "server/text.h"

namespace conclave::server {

namespace {

constexpr Duration kTerminalPause = milliseconds(200);
constexpr Duration kLinePause = seconds(5);

// Not only that it is a terminal: a job in the background that reads from it would be stopped.
bool has_terminal_input() {
  return ::isatty(STDIN_FILENO) == 1 && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
}

}  // namespace

ImportDisplay::ImportDisplay() : terminal_(::isatty(STDERR_FILENO) == 1) {}

bool ImportDisplay::is_due() const {
  return now() - last_ >= (terminal_ ? kTerminalPause : kLinePause);
}

void ImportDisplay::progress(const std::string& line) {
  last_ = now();
  if (terminal_) {
    fmt::print(stderr, "\r{}\033[K", line);
    shown_ = true;
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

void ImportDisplay::clear() {
  if (shown_) fmt::print(stderr, "\r\033[K");
  shown_ = false;
  std::fflush(stderr);
}

void ImportDisplay::note(const std::string& line) {
  clear();
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

void ImportDisplay::done(const std::string& line) {
  clear();
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

CutOverSwitch::CutOverSwitch(Pump& pump, std::function<void(const std::string&)> tell)
    : pump_(pump),
      tell_(std::move(tell)),
      signals_(pump.context(), SIGINT, SIGTERM),
      input_(pump.context()) {
  await_signal();
  if (!has_terminal_input()) return;
  // Not standard input itself: what the loop does to it, the shell would see.
  const int terminal = ::open("/dev/tty", O_RDONLY | O_CLOEXEC);
  if (terminal < 0) return;
  input_.assign(terminal);
  await_line();
}

void CutOverSwitch::await_signal() {
  signals_.async_wait([this](const boost::system::error_code& failed, int) {
    if (failed) return;
    if (on_) {
      pump_.stop();
      return;
    }
    on_ = true;
    tell_("Told to cut over. (Once more stops at once.)");
    await_signal();
  });
}

void CutOverSwitch::await_line() {
  boost::asio::async_read_until(input_, typed_, '\n',
                                [this](const boost::system::error_code& failed, std::size_t) {
                                  if (failed) return;
                                  std::istream stream(&typed_);
                                  std::string line;
                                  std::getline(stream, line);
                                  if (trim(line) == "cutover") {
                                    on_ = true;
                                    tell_("Told to cut over.");
                                  } else if (!trim(line).empty()) {
                                    tell_("Type \"cutover\" to hand over to the target.");
                                  }
                                  await_line();
                                });
}

}  // namespace conclave::server
