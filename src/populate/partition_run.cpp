// One partition's life, from the claim to the commit. Read this first.

#include "regfeatd/populate/partition_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "input_series.hpp"
#include "prepared.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/pg/brief.hpp"
#include "regfeatd/populate/completeness.hpp"
#include "regfeatd/populate/input_store.hpp"
#include "regfeatd/populate/publish.hpp"
#include "regfeatd/populate/short_locks.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/populate/target.hpp"
#include "regfeatd/queue/feature_sets.hpp"
#include "regfeatd/spec/feature_set.hpp"
#include "stream_hash.hpp"

namespace regfeatd::populate {
namespace {

using Clock = std::chrono::steady_clock;

/// Adds the time of its own life to a total of milliseconds.
class Stopwatch {
 public:
  explicit Stopwatch(double& total_ms) : total_ms_(total_ms), start_(Clock::now()) {}
  ~Stopwatch() { total_ms_ += std::chrono::duration<double, std::milli>(Clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& total_ms_;
  Clock::time_point start_;
};

}  // namespace

const char* to_string(Step step) noexcept {
  switch (step) {
    case Step::claim:
      return "claim";
    case Step::begin:
      return "begin";
    case Step::read:
      return "read";
    case Step::wait:
      return "wait";
    case Step::write:
      return "write";
    case Step::publish:
      return "publish";
    case Step::complete:
      return "complete";
    case Step::commit:
      return "commit";
  }
  return "unknown";
}

struct PartitionRunner::Impl {
  PreparedSets sets;
  WriteBuffers buffers;
  InputStore input;
};

namespace {

/// The write phase of one partition: every target, block by block.
class PartitionWrite {
 public:
  PartitionWrite(pg::Session& session, pqxx::transaction_base& tx, Prepared& prepared, const SeriesPlaces& places,
                 const queue::Claim& claim, InputStore& input, WriteBuffers& buffers, std::size_t send_rows,
                 RunObserver& observer, const std::stop_token& stop, queue::Timings& timings)
      : session_(session),
        prepared_(prepared),
        places_(places),
        input_(input),
        buffers_(buffers),
        send_rows_(send_rows),
        observer_(observer),
        stop_(stop),
        timings_(timings) {
    for (std::size_t t = 0; t < places.targets.size(); ++t) {
      writers_.emplace_back(
          places.targets[t],
          place(tx, prepared.fs, prepared.fs.targets[t], places.targets[t], claim.series, claim.range), claim, t);
    }
  }

  [[nodiscard]] bool swaps() const {
    return std::any_of(writers_.begin(), writers_.end(), [](const TargetWriter& w) { return w.swaps(); });
  }
  /// Whether the load shows nothing to anybody, so that it may be committed by itself.
  [[nodiscard]] bool hidden() const {
    return std::all_of(writers_.begin(), writers_.end(), [](const TargetWriter& w) { return w.swaps(); });
  }

  void clear(pqxx::transaction_base& tx) {
    for (TargetWriter& w : writers_) w.clear(tx);
  }

  void write(pqxx::transaction_base& tx, queue::Completion& completion) {
    if (swaps()) drop_leftovers(tx);
    const std::int64_t total = input_.output_rows();
    for (std::size_t t = 0; t < writers_.size(); ++t) write_target(tx, t, total, completion);
    completion.rows_out = total;
    completion.checksum = hash_.hex();
  }

  void settle(pqxx::transaction_base& tx) {
    for (TargetWriter& w : writers_) w.settle(tx);
    if (!swaps()) attach(tx, TargetWriter::AttachWait::long_enough);
  }

  /// The children that are exchanged, quoted.
  [[nodiscard]] std::vector<std::string> exchanged_children() const {
    std::vector<std::string> out;
    for (const TargetWriter& w : writers_) {
      if (w.swaps()) out.push_back(w.tables_to_lock().back());
    }
    return out;
  }

  /// All locks first, then all exchanges: no target is held up for another's sake.
  void exchange(pqxx::transaction_base& tx, const WaitBudget& budget) const {
    for (const TargetWriter& w : writers_) {
      if (w.swaps()) lock_exclusively(tx, w.tables_to_lock(), budget);
    }
    for (const TargetWriter& w : writers_) w.exchange(tx);
    attach(tx, TargetWriter::AttachWait::as_it_is_set);
  }

 private:
  void attach(pqxx::transaction_base& tx, TargetWriter::AttachWait wait) const {
    for (const TargetWriter& w : writers_) {
      if (w.attaches()) w.attach(tx, wait);
    }
  }

  void write_target(pqxx::transaction_base& tx, std::size_t t, std::int64_t total, queue::Completion& completion) {
    const spec::Target& target = prepared_.fs.targets[t];
    const ResolvedTarget& place = places_.targets[t];
    std::vector<std::size_t> inputs;
    for (const std::string& name : target.inputs) inputs.push_back(input_index(prepared_.fs, name));
    fit::Fitter& fitter = prepared_.fitter(target);
    buffers_.shape(inputs.size(), fitter.plan().column_count(), place.layout, send_rows_);
    std::vector<const double*> columns;
    for (const fit::ColumnBlock& block : buffers_.blocks()) {
      for (std::size_t c = 0; c < block.columns(); ++c) columns.push_back(block.column(c).data());
    }
    TargetWriter& writer = writers_[t];
    {
      const Stopwatch watch(timings_.send_ms);
      writer.start(session_, tx);
    }
    const auto before = total * static_cast<std::int64_t>(t);
    std::int64_t done = 0;
    pending_ = 0;
    NullCounts predicted(inputs.size(), std::vector<std::int64_t>(fitter.plan().column_count(), 0));
    input_.for_each([&](const InputRows& rows) {
      for (const Segment& segment : rows.segments) {
        for (std::size_t first = segment.output; first < segment.end;) {
          const std::size_t count = std::min(buffers_.block_rows() - pending_, segment.end - first);
          fit(fitter, inputs, rows, segment, first, count);
          first += count;
          if (pending_ == buffers_.block_rows()) done += flush(columns, writer);
          observer_.at_rows((before + done) / static_cast<std::int64_t>(writers_.size()), total);
        }
      }
      done += flush(columns, writer);  // its keys are in the chunk
      predict_nulls(fitter.plan(), inputs, rows, predicted);
    });
    observer_.at_rows((before + done) / static_cast<std::int64_t>(writers_.size()), total);
    finish_target(t, predicted, total, completion);
  }

  using NullCounts = std::vector<std::vector<std::int64_t>>;  ///< [input of the target][column]

  /// Adds the NULLs that a chunk must have by row counts and input NULLs.
  static void predict_nulls(const fit::Plan& plan, const std::vector<std::size_t>& inputs, const InputRows& rows,
                            NullCounts& predicted) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      for (const Segment& s : rows.segments) {
        const auto part = fit::predict_nulls(plan, series_of(rows, s, inputs[i]), s.output - s.begin, s.end - s.output);
        for (std::size_t c = 0; c < part.size(); ++c) predicted[i][c] += part[c];
      }
    }
  }

  /// Fits `count` rows of a segment into the blocks, behind the rows that already wait there.
  void fit(fit::Fitter& fitter, const std::vector<std::size_t>& inputs, const InputRows& rows, const Segment& segment,
           std::size_t first, std::size_t count) {
    if (stop_.stop_requested()) throw Fault(FaultClass::transient, "stopped", "57014");
    const Stopwatch watch(timings_.fit_ms);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      fitter.fit(series_of(rows, segment, inputs[i]), first - segment.begin, count, buffers_.blocks()[i], pending_);
    }
    for (std::size_t r = first; r < first + count; ++r) {
      block_order_[pending_] = rows.order[r];
      block_keys_[pending_] = rows.key(r);
      ++pending_;
    }
  }

  /// Encodes and sends the rows that wait in the blocks, a piece at a time: while the server works on one, the next is
  /// encoded.
  std::int64_t flush(const std::vector<const double*>& columns, TargetWriter& writer) {
    std::vector<const double*> piece(columns);
    for (std::size_t first = 0; first < pending_; first += buffers_.encoder_rows()) {
      const std::size_t count = std::min(buffers_.encoder_rows(), pending_ - first);
      const auto order = std::span<const OrderValue>(block_order_).subspan(first, count);
      const auto keys = prepared_.fs.key.empty()
                            ? std::span<const std::span<const std::byte>>{}
                            : std::span<const std::span<const std::byte>>(block_keys_).subspan(first, count);
      for (std::size_t c = 0; c < columns.size(); ++c) piece[c] = columns[c] + first;
      std::span<const std::byte> tuples;
      {
        const Stopwatch encoding(timings_.encode_ms);
        tuples = buffers_.encoder().encode(order, keys, piece);
        hash_.update(tuples);
      }
      const Stopwatch sending(timings_.send_ms);
      writer.copy().send(tuples);
    }
    const auto sent = static_cast<std::int64_t>(pending_);
    pending_ = 0;
    return sent;
  }

  /// Ends the COPY and holds its result against what must have come out: promises 6 and 7.
  void finish_target(std::size_t t, const NullCounts& predicted, std::int64_t total, queue::Completion& completion) {
    const Stopwatch watch(timings_.send_ms);
    completion.bytes_out += writers_[t].copy().bytes_sent();
    const std::int64_t taken = writers_[t].finish();
    const std::string where = places_.targets[t].table.name.text();
    if (taken != total) {
      throw Fault(FaultClass::fatal,
                  fmt::format("target {}: {} rows were sent but the server took {}", where, total, taken));
    }
    const fit::Plan& plan = prepared_.fitter(prepared_.fs.targets[t]).plan();
    std::size_t column = 0;
    for (const auto& of_input : predicted) {
      for (std::size_t c = 0; c < of_input.size(); ++c, ++column) {
        const std::int64_t actual = buffers_.encoder().null_counts()[column];
        const bool exact = fit::info(plan.column(c).metric).null_rule != fit::NullRule::value_dependent;
        if (actual < of_input[c] || (exact && actual != of_input[c])) {
          throw Fault(
              FaultClass::partition,
              fmt::format(
                  "target {}: column \"{}\" has {} NULLs where row counts and input NULLs give {}; {} is the usual cause",
                  where, places_.targets[t].features[column], actual, of_input[c], usual_cause_of_nulls(t)));
        }
        completion.nulls_out += actual;
      }
    }
  }

  [[nodiscard]] const char* usual_cause_of_nulls(std::size_t t) const {
    return spec::is_compact(spec::storage_of(prepared_.fs, prepared_.fs.targets[t]))
               ? "a value beyond what storage: compact keeps, 1e60 (squares: 1e120) or the largest real,"
               : "a result that overflows its type";
  }

  pg::Session& session_;
  Prepared& prepared_;
  const SeriesPlaces& places_;
  InputStore& input_;
  WriteBuffers& buffers_;
  const std::size_t send_rows_;
  RunObserver& observer_;
  const std::stop_token& stop_;
  queue::Timings& timings_;
  std::vector<TargetWriter> writers_;
  StreamHash hash_;
  std::size_t pending_ = 0;  ///< rows waiting in the blocks
  std::vector<OrderValue> block_order_ = std::vector<OrderValue>(kBlockRows);
  std::vector<std::span<const std::byte>> block_keys_ = std::vector<std::span<const std::byte>>(kBlockRows);
};

/// What was read, for the books: rows, keys set aside, fingerprint.
void describe_input(const Prepared& prepared, const queue::Claim& claim, InputStore& input,
                    queue::Completion& completion) {
  const std::int64_t usable = input.output_rows();
  const auto& bad_keys = input.bad_keys();
  completion.rows_in = usable;
  for (const BadKey& bad : bad_keys) {
    completion.rows_in += bad.rows;
    completion.quarantined.push_back({bad.key, bad.reason, format_order(prepared.fs.order, bad.position), bad.rows});
  }
  completion.empty = completion.rows_in == 0;
  if (usable == 0 && !completion.empty) {
    throw Fault(FaultClass::partition, fmt::format("none of its {} keys can be used; the first, {}: {}",
                                                   bad_keys.size(), bad_keys.front().key, bad_keys.front().reason));
  }
  completion.input_fingerprint = input_fingerprint(prepared.fs, claim.range, input);
}

/// The memory for the rows of a partition, asked for before they are read.
std::size_t reserve_memory(pqxx::transaction_base& tx, const Prepared& prepared, const queue::Claim& claim,
                           const RunOptions& options) {
  // Long look-backs take memory beside the rows: it comes from the same share.
  const std::size_t beside = prepared.bytes() - std::min(prepared.bytes(), kKeptBytes);
  const auto left = [&](std::size_t granted) { return granted - std::min(granted, beside); };
  if (!options.reserve) return left(options.input_budget_bytes);
  const auto rows = queue::expected_rows(tx, claim) + prepared.fs.plan().lookback_rows();
  const std::size_t row_bytes =
      InputStore::row_bytes(prepared.fs.inputs.size(), !prepared.fs.key.empty()) + 16 * prepared.fs.key.size();
  return left(options.reserve(beside + static_cast<std::size_t>(rows) * row_bytes / 8 *
                                           9));  // an estimate may be an eighth too low
}

/// Keys that are set aside have rows in the source too, though none of them is in a target.
void add_keys_set_aside(const InputStore& input, queue::Presence& presence) {
  std::map<std::string, std::int64_t> rows;  // two keys may read alike: NULL and the text NULL
  for (const BadKey& bad : input.bad_keys()) rows[bad.key] += bad.rows;
  if (rows.empty()) return;
  for (queue::KeyPresence& key : presence.keys) {
    const auto same = rows.find(key.key);
    if (same == rows.end()) continue;
    key.rows += same->second;
    rows.erase(same);
  }
  for (const auto& [key, count] : rows) presence.keys.push_back({key, count, 0, 0});
}

/// The rows that are there, key by key, against those that the calendar expects.
queue::Presence presence(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const ResolvedSource& source,
                         OrderRange range, InputStore& input) {
  const ExpectedCells expected = expected_cells(tx, fs, range);
  queue::Presence out{expected.expected_cells(), expected.closed_cells(), {}};
  input.for_each([&](const InputRows& rows) {
    for (const Segment& s : rows.segments) {
      if (s.output == s.end) continue;
      const std::size_t before =
          s.number > 0 ? 1 : 0;  // the last row of the key's earlier chunk, whose cell is counted
      CellCount count =
          count_cells(expected, std::span(rows.order).subspan(s.output - before, s.end - s.output + before));
      const CellCount counted = count_cells(expected, std::span(rows.order).subspan(s.output - before, before));
      count.present -= counted.present;
      count.unexpected -= counted.unexpected;
      if (before == 0)
        out.keys.push_back({fs.key.empty() ? "" : describe_key(fs, source, rows.key(s.output)), 0, 0, 0});
      queue::KeyPresence& key = out.keys.back();
      key.rows += static_cast<std::int64_t>(s.end - s.output);
      key.present += count.present;
      key.unexpected += count.unexpected;
    }
  });
  if (fs.key.empty() && out.keys.empty()) out.keys.push_back({});
  add_keys_set_aside(input, out);
  return out;
}

/// Whether the targets hold the result already: the same inputs, specification and engine as when it was last done, and
/// as many rows in every target as were written then.
bool nothing_changed(pqxx::transaction_base& tx, const SeriesPlaces& places, const queue::Claim& claim,
                     const queue::Completion& completion) {
  if (completion.empty) return false;
  const auto last = queue::last_result(tx, claim);
  if (!last || last->input_fingerprint != completion.input_fingerprint) return false;
  for (const ResolvedTarget& target : places.targets) {
    if (count_rows(tx, target, claim.range) != last->rows_out) return false;
  }
  return true;
}

/// Disk and memory beyond what a worker may keep go back with the end of the run.
class ReleaseAtEnd {
 public:
  ReleaseAtEnd(InputStore& input, std::size_t keep_bytes) : input_(input), keep_bytes_(keep_bytes) {}
  ~ReleaseAtEnd() { input_.release(keep_bytes_); }
  ReleaseAtEnd(const ReleaseAtEnd&) = delete;
  ReleaseAtEnd& operator=(const ReleaseAtEnd&) = delete;

 private:
  InputStore& input_;
  std::size_t keep_bytes_;
};

using Transaction = std::unique_ptr<pqxx::work>;

Transaction begin(pg::Session& session, std::chrono::microseconds lease) {
  auto tx = std::make_unique<pqxx::work>(session.sql());
  // All arithmetic on times is in UTC; a lock that does not come soon is tried again later instead of piling up waiters.
  // Parallel helpers would take the cores that other workers keep busy.
  tx->exec(
      "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0; "
      "SET LOCAL extra_float_digits = 1; SET LOCAL client_min_messages = 'warning'; SET LOCAL jit = off; "
      "SET LOCAL max_parallel_maintenance_workers = 0; " +
      pg::abandonment_settings(std::chrono::duration_cast<std::chrono::milliseconds>(lease)));
  return tx;
}

/// Reads the rows of the partition and says what they are.
queue::Completion read_input(pg::Session& session, pqxx::transaction_base& tx, const Prepared& prepared,
                             const SeriesPlaces& places, const queue::Claim& claim, const RunOptions& options,
                             InputStore& input, queue::Timings& timings) {
  {
    const Stopwatch watch(timings.read_ms);
    input.clear(prepared.fs.inputs.size(), reserve_memory(tx, prepared, claim, options));
    read_source(session, tx, prepared.fs, places.source, claim.range, input);
  }
  queue::Completion out;
  describe_input(prepared, claim, input, out);
  if (prepared.fs.calendar.cadence > 0) out.presence = presence(tx, prepared.fs, places.source, claim.range, input);
  out.unchanged = nothing_changed(tx, places, claim, out);
  return out;
}

/// The fence and the exchange of staging tables, as one step that is taken back as a whole while a lock is missing.
bool complete_and_exchange(pqxx::transaction_base& tx, const queue::Claim& claim, const queue::Completion& completion,
                           const PartitionWrite& write, const std::stop_token& stop) {
  bool ours = false;
  patiently(
      tx, stop,
      [&](pqxx::transaction_base& attempt, const WaitBudget& budget) {
        ours = queue::complete(attempt, claim, completion);
        if (ours) write.exchange(attempt, budget);
      },
      [&] { wait_for_maintenance(tx, write.exchanged_children()); });
  return ours;
}

WriteTurns::Turn wait_for_turn(WriteTurns& turns, const std::stop_token& stop, queue::Timings& timings) {
  const Stopwatch watch(timings.wait_ms);
  return turns.take(stop);
}

}  // namespace

PartitionRunner::PartitionRunner() : impl_(std::make_unique<Impl>()) {}
PartitionRunner::~PartitionRunner() = default;

void PartitionRunner::forget_catalogue() { impl_->sets.forget_places(); }

RunResult PartitionRunner::run(pg::Session& session, const queue::Claim& claim, const RunOptions& options,
                               RunObserver& observer, const std::stop_token& stop, queue::Timings& timings) {
  Step step = Step::begin;
  const auto enter = [&](Step next) {
    step = next;
    observer.at_step(next);
  };
  try {
    enter(Step::begin);
    Transaction tx = begin(session, options.lease);
    if (!queue::still_ours(*tx, claim)) return RunResult::fenced;
    Prepared& prepared = impl_->sets.get(*tx, claim);
    const SeriesPlaces& places = prepared.places(*tx, claim.series);

    enter(Step::read);
    InputStore& input = impl_->input;
    const ReleaseAtEnd release(input, options.input_budget_bytes);
    queue::Completion completion = read_input(session, *tx, prepared, places, claim, options, input, timings);

    WriteTurns::Turn turn;
    if (options.turns != nullptr && !completion.empty && !completion.unchanged) {
      if (auto free = options.turns->try_take()) {
        turn = std::move(*free);
      } else {
        tx.reset();  // it has read, no more; who waits must not hold a snapshot
        enter(Step::wait);
        turn = wait_for_turn(*options.turns, stop, timings);
        tx = begin(session, options.lease);
        if (!queue::still_ours(*tx, claim)) return RunResult::fenced;
      }
    }

    enter(Step::write);
    std::optional<PartitionWrite> write;
    if (!completion.unchanged)
      write.emplace(session, *tx, prepared, places, claim, input, impl_->buffers, options.send_rows, observer, stop,
                    timings);
    if (completion.empty) {
      write->clear(*tx);
    } else if (write) {
      write->write(*tx, completion);
      turn.give_back();
      enter(Step::publish);
      const Stopwatch watch(timings.publish_ms);
      write->settle(*tx);
      if (write->hidden()) {
        // What comes now is short, and so are the locks that readers may meet.
        tx->commit();
        tx.reset();
        tx = begin(session, options.lease);
      }
    }

    enter(Step::complete);
    {
      const Stopwatch watch(timings.publish_ms);  // it may have to wait for locks
      const bool ours = write && write->swaps() && !completion.empty
                            ? complete_and_exchange(*tx, claim, completion, *write, stop)
                            : queue::complete(*tx, claim, completion);
      if (!ours) return RunResult::fenced;  // the destructor rolls back
    }
    completion.timings = timings;
    queue::record_success(*tx, claim, completion);

    enter(Step::commit);
    {
      const Stopwatch watch(timings.commit_ms);
      tx->commit();
    }
    return completion.empty ? RunResult::empty : RunResult::done;
  } catch (...) {
    throw pg::to_fault(std::current_exception(), to_string(step));
  }
}

}  // namespace regfeatd::populate
