#pragma once

#include <condition_variable>
#include <mutex>

// Clang's thread-safety analysis (preset `clang`); nothing elsewhere.
#if defined(__clang__)
#define REGFEATD_ANNOTATE(x) __attribute__((x))
#else
#define REGFEATD_ANNOTATE(x)
#endif
#define REGFEATD_GUARDED_BY(m) REGFEATD_ANNOTATE(guarded_by(m))
#define REGFEATD_REQUIRES(m) REGFEATD_ANNOTATE(requires_capability(m))

namespace regfeatd {

/// std::mutex, known to the analysis.
class REGFEATD_ANNOTATE(capability("mutex")) Mutex {
 public:
  void lock() REGFEATD_ANNOTATE(acquire_capability()) { mutex_.lock(); }
  void unlock() REGFEATD_ANNOTATE(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// Holds a Mutex for a scope.
class REGFEATD_ANNOTATE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& m) REGFEATD_ANNOTATE(acquire_capability(m)) : mutex_(m) { mutex_.lock(); }
  ~MutexLock() REGFEATD_ANNOTATE(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Waits on a Mutex that the caller holds.
class ConditionVariable {
 public:
  template <class Duration>
  void wait_for(Mutex& m, Duration d) REGFEATD_REQUIRES(m) {
    condition_.wait_for(m, d);
  }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable_any condition_;
};

}  // namespace regfeatd
