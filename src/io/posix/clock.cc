#include "io/posix/clock.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

namespace conclave::io {

namespace {

// std::chrono::steady_clock is CLOCK_MONOTONIC.
std::int64_t monotonic_ns() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct PosixClock::State : std::enable_shared_from_this<State> {
  explicit State(Loop& loop) : timer(loop.context()) {}

  using Key = std::pair<Instant, TimerId>;  // timers of one instant fire in the order they were set
  std::map<Key, std::move_only_function<void()>> waiting;
  std::unordered_map<TimerId, Instant> deadlines;
  TimerId last_id = 0;
  boost::asio::steady_timer timer;
  std::optional<Instant> armed;  // when `timer` goes off; early is harmless
  bool stopped = false;

  void arm() {
    if (waiting.empty()) return;
    const Instant first = waiting.begin()->first.first;
    if (armed && *armed <= first) return;
    armed = first;
    timer.expires_at(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(first.ns)));
    timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (error) return;
      if (self->stopped) return;
      self->armed.reset();
      self->fire_due();
    });
  }

  // Fires what was due on entry, so timers that set timers do not keep the loop from its sockets.
  void fire_due() {
    const Key due{Instant{monotonic_ns()}, last_id};
    while (!stopped && !waiting.empty() && waiting.begin()->first <= due) {
      auto node = waiting.extract(waiting.begin());
      deadlines.erase(node.key().second);
      node.mapped()();
    }
    if (!stopped) arm();
  }
};

PosixClock::PosixClock(Loop& loop) : loop_(loop), state_(std::make_shared<State>(loop)) {}

PosixClock::~PosixClock() {
  state_->stopped = true;
  state_->timer.cancel();
}

Instant PosixClock::now() const { return Instant{monotonic_ns()}; }

std::uint64_t PosixClock::wall_ms() const {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(since_1970).count());
}

Clock::TimerId PosixClock::after(Duration delay, std::move_only_function<void()> fire) {
  const Instant deadline = now() + std::max(delay, Duration{});
  const TimerId id = ++state_->last_id;
  state_->waiting.emplace(State::Key{deadline, id}, std::move(fire));
  state_->deadlines.emplace(id, deadline);
  state_->arm();
  return id;
}

void PosixClock::cancel(TimerId timer) {
  const auto found = state_->deadlines.find(timer);
  if (found == state_->deadlines.end()) return;
  state_->waiting.erase({found->second, timer});
  state_->deadlines.erase(found);
}

void PosixClock::post(std::move_only_function<void()> run) { loop_.post(std::move(run)); }

}  // namespace conclave::io
