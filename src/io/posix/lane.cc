#include "io/posix/lane.h"

#include <pthread.h>

#include <utility>

namespace conclave::io {

LaneThread::LaneThread(Loop& loop, const char* name)
    : loop_(loop), thread_([this](const std::stop_token& stop) { work(stop); }) {
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

void LaneThread::work(const std::stop_token& stop) {
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
