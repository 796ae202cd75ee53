#include "regfeatd/populate/write_turns.hpp"

#include <algorithm>
#include <chrono>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::populate {

void WriteTurns::set_limit(std::optional<int> limit) {
  const MutexLock lock(mutex_);
  limit_ = limit;
  changed_.notify_all();
}

std::optional<WriteTurns::Turn> WriteTurns::try_take() {
  const MutexLock lock(mutex_);
  if (!waiting_.empty() || !free()) return std::nullopt;
  ++taken_;
  return Turn(*this);
}

WriteTurns::Turn WriteTurns::take(const std::stop_token& stop) {
  constexpr std::chrono::milliseconds kLook{50};  // a stop is noticed so soon
  const MutexLock lock(mutex_);
  const std::uint64_t ticket = next_ticket_++;
  waiting_.push_back(ticket);
  while (!stop.stop_requested() && !(waiting_.front() == ticket && free())) changed_.wait_for(mutex_, kLook);
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), ticket));
  changed_.notify_all();  // the next one is in front now
  if (stop.stop_requested()) throw Fault(FaultClass::transient, "stopped", "57014");
  ++taken_;
  return Turn(*this);
}

void WriteTurns::give_back() noexcept {
  const MutexLock lock(mutex_);
  --taken_;
  changed_.notify_all();
}

}  // namespace regfeatd::populate
