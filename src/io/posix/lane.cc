#include "io/posix/lane.h"

#include <pthread.h>
#include <sys/resource.h>

#include <utility>

namespace conclave::io {

LaneThread::LaneThread(Loop& loop, const char* name, Share share)
    : loop_(loop), thread_([this, share](const std::stop_token& stop) { work(stop, share); }) {
  ::pthread_setname_np(thread_.native_handle(), name);
}

LaneThread::~LaneThread() = default;

void LaneThread::run(std::move_only_function<Result<void>()> job,
                     std::move_only_function<void(Result<void>)> done) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back({std::move(job), std::move(done)});
  }
  ready_.notify_one();
}

void LaneThread::work(const std::stop_token& stop, Share share) {
  // Linux has a niceness for each thread, and 0 means this one. Ten steps are a weight of 110 to
  // 1,024 (sched(7)). Where it is refused the lane has an equal share.
  constexpr int kNicer = 10;
  if (share == Share::kTenth)
    ::setpriority(PRIO_PROCESS, 0, ::getpriority(PRIO_PROCESS, 0) + kNicer);
  while (true) {
    std::unique_lock lock(mutex_);
    if (!ready_.wait(lock, stop, [this] { return !tasks_.empty(); })) return;
    if (stop.stop_requested()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    Result<void> result = task.job();
    // The job goes with the callback, so that what it holds is destroyed on the loop too.
    loop_.post_from_thread([task = std::move(task), result = std::move(result)]() mutable {
      task.done(std::move(result));
    });
  }
}

}  // namespace conclave::io
