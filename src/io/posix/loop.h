#pragma once
// One thread's event loop: everything a member does, but its disk lanes, happens on one of these.
//
// A turn is: every event that is ready, then what was posted meanwhile, then the flushes. So a
// batch closed by post() sees all requests that arrived together, and what it sends still leaves in
// the same turn.
//
// Threading: post_from_thread() and stop() may be called from anywhere, the rest from the loop's
// own thread (or before run()). SIGPIPE is ignored for the whole process from the first Loop on.

#include <functional>
#include <memory>

namespace boost::asio {
class io_context;
}

namespace conclave::io {

class Loop {
 public:
  Loop();
  // Destroys what is still queued without running it.
  // REQUIRES: clocks, networks and disks on this loop are gone.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Returns after stop(), at once if that came first.
  void run();
  void stop();

  // Runs `run` after everything that is ready now. What it posts itself waits for the next turn.
  void post(std::move_only_function<void()> run);
  // Runs `run` at the end of this turn, after what was posted: for whoever gathers output.
  void post_flush(std::move_only_function<void()> run);
  // Runs `run` on the loop, soon; wakes the loop if it sleeps.
  void post_from_thread(std::move_only_function<void()> run);

  // Calls `handle` on the loop each time the process gets `signal` (SIGTERM, SIGINT, SIGHUP), in
  // place of the default action. REQUIRES: at most once per signal and process.
  void on_signal(int signal, std::move_only_function<void()> handle);

  boost::asio::io_context& context();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace conclave::io
