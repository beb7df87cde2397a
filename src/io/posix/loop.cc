#include "io/posix/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <list>
#include <utility>
#include <vector>

#include "base/check.h"

namespace conclave::io {

namespace asio = boost::asio;
using Callback = std::move_only_function<void()>;

namespace {

struct SignalHook {
  SignalHook(asio::io_context& context, Callback handler)
      : signals(context), handle(std::move(handler)) {}

  asio::signal_set signals;
  Callback handle;

  void wait() {
    signals.async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      wait();
      handle();
    });
  }
};

// Runs what `queue` holds now; what is added meanwhile stays in it. `spare` keeps the memory of the
// last time.
void run_all(std::vector<Callback>& queue, std::vector<Callback>& spare) {
  spare.swap(queue);
  for (Callback& run : spare) run();
  spare.clear();
}

}  // namespace

struct Loop::State {
  // One thread runs the context; others may post to it.
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> keep_running{context.get_executor()};
  std::list<SignalHook> hooks;  // a list, since hooks hand out their own address
  std::vector<Callback> posts, flushes, spare_posts, spare_flushes;
  bool scheduled = false;

  // Asio runs a handler posted from a handler after those that are ready and one more look at the
  // sockets.
  void schedule() {
    if (std::exchange(scheduled, true)) return;
    asio::post(context, [this] { end_turn(); });
  }

  void end_turn() {
    scheduled = false;
    run_all(posts, spare_posts);
    run_all(flushes, spare_flushes);
  }
};

Loop::Loop() : state_(std::make_unique<State>()) { std::signal(SIGPIPE, SIG_IGN); }

Loop::~Loop() = default;

void Loop::run() {
  state_->context.run();
  state_->context.restart();  // after, so that a stop() that came before run() is not forgotten
}

void Loop::stop() { state_->context.stop(); }

void Loop::post(Callback run) {
  state_->posts.push_back(std::move(run));
  state_->schedule();
}

void Loop::post_flush(Callback run) {
  state_->flushes.push_back(std::move(run));
  state_->schedule();
}

void Loop::post_from_thread(Callback run) {
  asio::post(state_->context, [run = std::move(run)]() mutable { run(); });
}

void Loop::on_signal(int signal, Callback handle) {
  SignalHook& hook = state_->hooks.emplace_back(state_->context, std::move(handle));
  boost::system::error_code error;
  hook.signals.add(signal, error);
  CHECK(!error, "cannot handle signal {}: {}", signal, error.message());
  hook.wait();
}

boost::asio::io_context& Loop::context() { return state_->context; }

}  // namespace conclave::io
