#include "cancel_thread.hpp"

#include <algorithm>
#include <chrono>

namespace regfeatd::daemon {

CancelThread::CancelThread() : thread_([this](const std::stop_token& stop) { loop(stop); }) {}

void CancelThread::send(std::shared_ptr<CancellableRun> run) {
  const MutexLock lock(mutex_);
  if (std::find(waiting_.begin(), waiting_.end(), run) != waiting_.end()) return;
  waiting_.push_back(std::move(run));
  arrived_.notify_all();
}

void CancelThread::loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::shared_ptr<CancellableRun> run;
    {
      const MutexLock lock(mutex_);
      if (waiting_.empty()) arrived_.wait_for(mutex_, std::chrono::milliseconds{200});
      if (waiting_.empty()) continue;
      run = std::move(waiting_.front());
      waiting_.pop_front();
    }
    if (!run->over) run->canceller->cancel();
  }
}

}  // namespace regfeatd::daemon
