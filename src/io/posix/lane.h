#pragma once
// One thread that runs jobs in order. Internal to io/posix.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "base/result.h"
#include "io/posix/loop.h"

namespace conclave::io {

class LaneThread {
 public:
  // What a lane's jobs get of a processor that others want as well.
  enum class Share : std::uint8_t {
    kEqual,
    kTenth,  // about
  };

  // `name` is the thread's, at most 15 characters. REQUIRES: `loop` outlives the lane.
  LaneThread(Loop& loop, const char* name, Share share);
  // Waits for the job that runs; the queued ones are dropped.
  ~LaneThread();

  // Runs `job` on the thread, then `done` on the loop.
  void run(std::move_only_function<Result<void>()> job,
           std::move_only_function<void(Result<void>)> done);

 private:
  struct Task {
    std::move_only_function<Result<void>()> job;
    std::move_only_function<void(Result<void>)> done;
  };

  void work(const std::stop_token& stop, Share share);

  Loop& loop_;
  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<Task> tasks_;
  std::jthread thread_;  // last: it stops before what it uses goes
};

}  // namespace conclave::io
