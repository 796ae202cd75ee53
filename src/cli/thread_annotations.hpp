#pragma once

#include <condition_variable>
#include <mutex>

// clang's thread-safety analysis (-Wthread-safety); other compilers see nothing.
#if defined(__clang__)
#define REGFEATD_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define REGFEATD_THREAD_ANNOTATION(x)
#endif

#define REGFEATD_GUARDED_BY(x) REGFEATD_THREAD_ANNOTATION(guarded_by(x))
#define REGFEATD_REQUIRES(x) REGFEATD_THREAD_ANNOTATION(requires_capability(x))

namespace regfeatd::cli {

/// std::mutex, known to the analysis.
class REGFEATD_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void lock() REGFEATD_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() REGFEATD_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// std::lock_guard, known to the analysis. Conditions wait on the Mutex itself (std::condition_variable_any).
class REGFEATD_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) REGFEATD_THREAD_ANNOTATION(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() REGFEATD_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace regfeatd::cli
