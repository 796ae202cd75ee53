#include "fit_stream.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fit_worker.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/base/mutex.hpp"

namespace regfeatd::cli {
namespace {

/// A block on its way through: the main thread reads, places and writes it, any thread reads its rows and
/// fits them.
struct Slot {
  enum class Stage { free, read, rows_read, placed, fitted };

  Stage stage = Stage::free;   ///< changed under the queue's mutex
  std::exception_ptr failure;  ///< of the last step: set before the stage changes, rethrown when the block's turn comes
  CsvBlock block;
  TableRows rows;
  FitJob job;
  TextBuffer text;
};

/// The slots that wait for a thread. Threads take a slot at stage `read` or `placed` and bring it to the next
/// stage.
class WorkQueue {
 public:
  void push(Slot& slot, Slot::Stage stage) {
    const MutexLock lock(mutex_);
    slot.stage = stage;
    waiting_.push_back(&slot);
    changed_.notify_all();
  }

  /// The next slot, or nothing when there is none.
  [[nodiscard]] Slot* try_take() {
    const MutexLock lock(mutex_);
    return pop();
  }

  /// Waits for a slot; nothing when `stop` is requested.
  [[nodiscard]] Slot* take(const std::stop_token& stop) {
    const MutexLock lock(mutex_);
    const auto any = [this]() REGFEATD_REQUIRES(mutex_) { return !waiting_.empty(); };
    (void)changed_.wait(mutex_, stop, any);
    return stop.stop_requested() ? nullptr : pop();
  }

  void finish(Slot& slot) {
    const MutexLock lock(mutex_);
    slot.stage = slot.stage == Slot::Stage::read ? Slot::Stage::rows_read : Slot::Stage::fitted;
    changed_.notify_all();
  }

  [[nodiscard]] Slot::Stage stage(const Slot& slot) {
    const MutexLock lock(mutex_);
    return slot.stage;
  }

  /// Returns when there is a slot to take, or one of these (where given) has got that far.
  void wait(const Slot* rows_read, const Slot* fitted) {
    const MutexLock lock(mutex_);
    while (waiting_.empty() && !(rows_read != nullptr && rows_read->stage == Slot::Stage::rows_read) &&
           !(fitted != nullptr && fitted->stage == Slot::Stage::fitted)) {
      changed_.wait(mutex_);
    }
  }

 private:
  [[nodiscard]] Slot* pop() REGFEATD_REQUIRES(mutex_) {
    if (waiting_.empty()) return nullptr;
    Slot* const slot = waiting_.front();
    waiting_.pop_front();
    return slot;
  }

  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Slot*> waiting_ REGFEATD_GUARDED_BY(mutex_);  ///< never more than there are slots
};

class Pipeline {
 public:
  Pipeline(BlockReader& reader, const TableLayout& layout, const fit::Plan& plan,
           const SeriesTracker::Options& tracking, const StreamOptions& options, const TextSink& sink);

  void run(CsvBlock first);

 private:
  bool write_oldest();
  bool place_next();
  bool read_next();
  bool help();
  void work(FitWorker& worker, Slot& slot);
  void serve(FitWorker& worker, const std::stop_token& stop);
  [[nodiscard]] Slot& slot(std::uint64_t number) { return *slots_[number % slots_.size()]; }

  BlockReader& reader_;
  const TableLayout& layout_;
  const StreamOptions options_;
  const TextSink& sink_;
  SeriesTracker tracker_;
  WorkQueue queue_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<std::unique_ptr<FitWorker>> workers_;    ///< the main thread's first
  std::uint64_t read_ = 0, placed_ = 0, written_ = 0;  ///< blocks so far; written_ <= placed_ <= read_
  bool input_ended_ = false;                           ///< also after a bad row: what follows is not read
  bool stopped_ = false;                               ///< nobody wants more
  std::vector<std::jthread> threads_;                  ///< last: stopped and joined first
};

Pipeline::Pipeline(BlockReader& reader, const TableLayout& layout, const fit::Plan& plan,
                   const SeriesTracker::Options& tracking, const StreamOptions& options, const TextSink& sink)
    : reader_(reader), layout_(layout), options_(options), sink_(sink), tracker_(layout, plan, tracking) {
  const auto thread_count = static_cast<std::size_t>(std::max(options.threads, 1));
  for (std::size_t i = 0; i < 2 * thread_count + 2; ++i) slots_.push_back(std::make_unique<Slot>());
  for (std::size_t i = 0; i < thread_count; ++i) {
    workers_.push_back(std::make_unique<FitWorker>(layout, plan, options.limits.max_rows));
  }
  for (std::size_t i = 1; i < thread_count; ++i) {
    threads_.emplace_back([this, i](const std::stop_token& stop) { serve(*workers_[i], stop); });
  }
}

void Pipeline::run(CsvBlock first) {
  slot(0).block = std::move(first);
  queue_.push(slot(0), Slot::Stage::read);
  read_ = 1;
  while (!stopped_ && (written_ < read_ || !input_ended_)) {
    // What frees memory comes first, then what feeds the other threads, then their work itself.
    if (write_oldest() || place_next() || read_next() || help()) continue;
    queue_.wait(placed_ < read_ ? &slot(placed_) : nullptr, written_ < placed_ ? &slot(written_) : nullptr);
  }
}

bool Pipeline::write_oldest() {
  if (written_ == placed_) return false;
  Slot& oldest = slot(written_);
  if (queue_.stage(oldest) != Slot::Stage::fitted) return false;
  if (oldest.failure) std::rethrow_exception(oldest.failure);
  std::uint64_t rows = 0;
  for (const SeriesPiece& piece : oldest.job.pieces) rows += piece.count;
  if (!oldest.text.text().empty() && !sink_(oldest.text.text(), rows)) stopped_ = true;
  if (!oldest.job.error.empty()) throw Fault(FaultClass::partition, oldest.job.error);
  oldest.stage = Slot::Stage::free;
  ++written_;
  return true;
}

bool Pipeline::place_next() {
  if (placed_ == read_) return false;
  Slot& next = slot(placed_);
  if (queue_.stage(next) != Slot::Stage::rows_read) return false;
  if (!next.failure) tracker_.place(next.rows, next.job);
  if (!next.job.error.empty()) {
    input_ended_ = true;
    read_ = placed_ + 1;  // later blocks, if read, are dropped
  }
  ++placed_;
  queue_.push(next, Slot::Stage::placed);
  return true;
}

bool Pipeline::read_next() {
  if (input_ended_ || read_ - written_ == slots_.size()) return false;
  Slot& next = slot(read_);
  const bool idle = written_ == read_;
  next.failure = nullptr;
  next.job.error.clear();
  try {
    switch (reader_.next(next.block, options_.limits, idle ? BlockReader::Mode::wait : BlockReader::Mode::try_only)) {
      case BlockReader::Result::not_ready:
        return false;
      case BlockReader::Result::end:
        input_ended_ = true;
        return true;
      case BlockReader::Result::block:
        break;
    }
  } catch (const CsvError& e) {
    const std::string message = layout_.file + ":" + std::to_string(e.line()) + ": " + e.what();
    next.failure = std::make_exception_ptr(Fault(FaultClass::partition, message));
  } catch (...) {
    next.failure = std::current_exception();
  }
  if (next.failure) input_ended_ = true;
  ++read_;
  queue_.push(next, Slot::Stage::read);
  return true;
}

bool Pipeline::help() {
  Slot* const slot = queue_.try_take();
  if (slot != nullptr) work(*workers_.front(), *slot);
  return slot != nullptr;
}

void Pipeline::serve(FitWorker& worker, const std::stop_token& stop) {
  while (Slot* const slot = queue_.take(stop)) work(worker, *slot);
}

void Pipeline::work(FitWorker& worker, Slot& slot) {
  if (!slot.failure) {
    try {
      if (slot.stage == Slot::Stage::read) {
        read_rows(slot.block, layout_, slot.rows);
      } else {
        worker.run(slot.rows, slot.job, slot.text);
      }
    } catch (...) {
      slot.failure = std::current_exception();
    }
  }
  queue_.finish(slot);
}

}  // namespace

void fit_stream(CsvBlock first, BlockReader& reader, const TableLayout& layout, const fit::Plan& plan,
                const SeriesTracker::Options& tracking, const StreamOptions& options, const TextSink& sink) {
  Pipeline(reader, layout, plan, tracking, options, sink).run(std::move(first));
}

BlockReader::Limits block_limits(const fit::Plan& plan, std::size_t inputs, bool interleaved) {
  constexpr std::size_t kOutputBytes = std::size_t{2} << 20;
  constexpr std::size_t kMostOutputBytes = std::size_t{64} << 20;
  constexpr std::size_t kFieldBytes = 20;
  const std::size_t row_bytes = std::max<std::size_t>(plan.column_count() * inputs, 1) * kFieldBytes + 32;
  // Each block fits its look-back anew (long windows) or copies it for every key (interleaved): that must
  // stay small.
  const auto lookback = static_cast<std::size_t>(plan.lookback_rows());
  const std::size_t wanted = std::max(kOutputBytes * (interleaved ? 4 : 1) / row_bytes, 2 * lookback);
  const std::size_t rows = std::clamp<std::size_t>(wanted, 64, std::max<std::size_t>(kMostOutputBytes / row_bytes, 64));
  return {.max_rows = std::min<std::size_t>(rows, 65'536), .max_bytes = std::size_t{4} << 20};
}

}  // namespace regfeatd::cli
