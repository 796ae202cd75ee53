// What COPY can do here, and what of it the pipeline reaches: the same rows, the same tables, the same
// publishing.
#include "regfeatd/populate/bench.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <latch>
#include <map>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/populate/apply.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/populate/publish.hpp"
#include "regfeatd/queue/daemons.hpp"
#include "regfeatd/queue/migrate.hpp"
#include "server_cpu.hpp"

namespace regfeatd::populate {
namespace {

using Clock = std::chrono::steady_clock;

// Sends of this size and sends of 64 KB are equally fast; at 8 MB the caches no longer hold what is sent.
constexpr std::size_t kSendBytes = 1u << 20;

// INSERTs take some twenty times as long as COPY: of one target's rows so many.
constexpr int kInsertedRows = 5'000;

std::string series_name(int i) { return fmt::format("s{}", i + 1); }

/// Of all jobs, so that a worker claims only what is put into the queue afterwards.
void cancel_pending(pqxx::transaction_base& tx) {
  tx.exec("UPDATE regfeat.partition SET state = 'cancelled' WHERE state = 'pending'");
}

/// What a path writes.
enum class Form { wide, compact, compact_real };

struct PathInfo {
  const char* name;
  Form form;
  bool encoded;  ///< rows that were encoded before; else from the sources
  bool ahead;    ///< with more workers than send rows at a time
  int rows_per_insert = 0;
};

const PathInfo& info(BenchPath path) {
  static constexpr PathInfo kPaths[] = {{"bare COPY", Form::wide, true, false},
                                        {"raw COPY", Form::wide, true, false},
                                        {"pipeline", Form::wide, false, false},
                                        {"pipeline, ahead", Form::wide, false, true},
                                        {"raw compact", Form::compact, true, false},
                                        {"compact", Form::compact, false, true},
                                        {"compact real", Form::compact_real, false, true},
                                        {"1-row INSERT", Form::wide, true, false, 1},
                                        {"1000-row INSERT", Form::wide, true, false, 1000}};
  return kPaths[static_cast<std::size_t>(path)];
}

const char* name_of(Form form) {
  return form == Form::wide ? "wide" : form == Form::compact ? "compact" : "compact_real";
}

const char* name_of(spec::Publish publish) {
  switch (publish) {
    case spec::Publish::create:
      return "create";
    case spec::Publish::truncate:
      return "truncate";
    case spec::Publish::swap:
      return "swap";
    case spec::Publish::remove:
      return "delete";
    case spec::Publish::automatic:
      break;
  }
  return "auto";
}

std::string storage_of(Form form, const BenchOptions& o) {
  if (form == Form::compact) return "compact";
  if (form == Form::compact_real) return "[compact, real]";
  return o.columns == pg::FeatureType::float4 ? "real" : "double";
}

std::string specification(const BenchOptions& o, Form form) {
  std::string series;
  for (int i = 0; i < o.partitions; ++i) series += (i == 0 ? "" : ", ") + series_name(i);
  return fmt::format(R"(feature_set: bench_{0}
series: [{1}]
partition: {{ by: month, from: 2024-07-01, to: 2024-08-01 }}
source:
  tables:
    - {{ table: "bench.m1_{{series}}", time: time }}
    - {{ table: "bench.bqx_{{series}}", time: ts_utc }}
inputs:
  idx: {{ column: rate_index }}
  bqx: {{ column: w15_bqx_return }}
windows: {{ w15: 15, w30: 30, w45: 45, w60: 60, w75: 75, agg: 90 }}
metrics: coefficients
storage: {2}
targets:
  - {{ input: idx, table: "bench.{0}_rate_{{series}}", time: ts_utc, column: "{{metric}}_idx_{{window}}", partition: "{{table}}_{{start}}", publish: {3} }}
  - {{ input: bqx, table: "bench.{0}_bqx_{{series}}", time: ts_utc, column: "{{metric}}_bqx_{{window}}", partition: "{{table}}_{{start}}", publish: {3} }}
)",
                     name_of(form), series, storage_of(form, o), name_of(o.publish));
}

/// Three months of minute bars, of which July is the partition; every series reads them through views of its
/// own.
void make_sources(pqxx::transaction_base& tx, const BenchOptions& o) {
  tx.exec(fmt::format(R"(
    CREATE SCHEMA bench;
    CREATE TABLE bench.m1 (time timestamp PRIMARY KEY, close numeric, rate_index numeric);
    INSERT INTO bench.m1
      SELECT month + minute * interval '1 minute', close, round(100 * close / 1.0832, 10)
        FROM (VALUES (timestamp '2024-06-01', 0), ('2024-07-01', 1), ('2024-08-01', 2)) m (month, number)
        CROSS JOIN LATERAL (SELECT minute, round((1.08 + 0.02 * sin((number * {0} + minute) / 3001.0) + (minute % 977 * 31 % 401) / 400000.0)::numeric, 5) AS close
                              FROM generate_series(0, {0} - 1) minute) b;
    CREATE TABLE bench.bqx (ts_utc timestamptz PRIMARY KEY, w15_bqx_return double precision);
    INSERT INTO bench.bqx
      SELECT time AT TIME ZONE 'UTC', coalesce(((avg(close) OVER w - close) / close), 0)::double precision
        FROM bench.m1 WINDOW w AS (ORDER BY time ROWS BETWEEN 15 PRECEDING AND 1 PRECEDING);
    ANALYZE bench.m1, bench.bqx)",
                      o.rows));
  for (int i = 0; i < o.partitions; ++i) {
    tx.exec(
        fmt::format("CREATE VIEW bench.m1_{0} AS SELECT * FROM bench.m1; CREATE VIEW bench.bqx_{0} AS SELECT "
                    "* FROM bench.bqx",
                    series_name(i)));
  }
}

/// The tuples of a table as COPY takes them.
std::vector<std::byte> encoded_rows(pg::Session& session, const std::string& table) {
  return pg::copy_out_tuples(session, "SELECT * FROM " + table);
}

class Silent : public RunObserver {
 public:
  void at_step(Step) override {}
  void at_rows(std::int64_t, std::int64_t) override {}
};

/// Measures from its making to `finish`.
class Meter {
 public:
  explicit Meter(const ServerCpu& server)
      : server_(server), server_cpu_(server.seconds()), client_cpu_(client_cpu_seconds()), start_(Clock::now()) {}
  void finish(BenchMeasurement& m) const {
    m.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    m.client_cpu_s = client_cpu_seconds() - client_cpu_;
    const auto now = server_.seconds();
    if (now && server_cpu_) m.server_cpu_s = *now - *server_cpu_;
  }

 private:
  const ServerCpu& server_;
  std::optional<double> server_cpu_;
  double client_cpu_;
  Clock::time_point start_;
};

/// A database that is there for as long as this is.
class ScratchDatabase {
 public:
  explicit ScratchDatabase(const pg::ConnectOptions& connect)
      : admin_(connect), name_(fmt::format("regfeatd_bench_{}", getpid())) {
    pqxx::nontransaction tx(admin_.sql());
    if (!tx.exec1("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")[0].as<bool>()) {
      throw Fault(FaultClass::configuration,
                  "bench works in a database of its own, which it creates and drops: the role needs CREATEDB");
    }
    // What a run left that was killed; one that goes on has this session, which bears its database's name.
    tx.exec("SET application_name = " + pg::quote_literal(name_));
    for (const auto& row :
         tx.exec("SELECT datname FROM pg_database d WHERE datname ~ '^regfeatd_bench_[0-9]+$' AND "
                 "pg_has_role(datdba, 'USAGE') "
                 "   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = d.datname)")) {
      tx.exec("DROP DATABASE IF EXISTS " + pg::quote_identifier(row[0].as<std::string>()) + " WITH (FORCE)");
    }
    tx.exec("CREATE DATABASE " + name_);
  }
  ~ScratchDatabase() {
    try {
      pqxx::nontransaction tx(admin_.sql());
      tx.exec("DROP DATABASE IF EXISTS " + name_ + " WITH (FORCE)");
    } catch (const std::exception& e) {
      std::fprintf(stderr, "regfeatd: cannot drop database %s: %s\n", name_.c_str(), e.what());
    }
  }
  ScratchDatabase(const ScratchDatabase&) = delete;
  ScratchDatabase& operator=(const ScratchDatabase&) = delete;
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  pg::Session admin_;
  std::string name_;
};

}  // namespace

const char* to_string(BenchPath path) noexcept { return info(path).name; }
bool is_insert(BenchPath path) noexcept { return info(path).rows_per_insert > 0; }

struct Bench::Impl {
  explicit Impl(const BenchOptions& o);

  /// One thread's connection, and what it has learnt, kept from one measurement to the next.
  struct Connection {
    std::unique_ptr<pg::Session> session;
    PartitionRunner runner;
    queue::Timings timings;
  };
  struct Place {
    std::string series;
    std::vector<ResolvedTarget> targets;
  };
  /// A feature set with its targets, and the rows that all its partitions get.
  struct Job {
    spec::FeatureSetDocument document;
    OrderRange range;
    std::vector<Place> places;
    std::vector<std::vector<std::byte>> streams;  ///< by target: the rows of a partition, encoded
  };

  [[nodiscard]] std::unique_ptr<pg::Session> connect() const {
    pg::ConnectOptions scratch = options.connect;
    scratch.database = database.name();
    return std::make_unique<pg::Session>(scratch);
  }
  void connect_workers(int workers) {
    while (connections.size() < static_cast<std::size_t>(workers)) connections.emplace_back().session = connect();
  }
  /// Made when first asked for.
  Job& job(Form form);
  void make_targets(Job& job, Form form);
  void clear(const PathInfo& path);
  void vacuum_targets();
  BenchMeasurement measure_inserts(int rows_per_statement);
  const std::vector<std::string>& insert_statements(int rows_per_statement);
  void load_bare(Connection& c, const Job& job, const Place& place);
  void load_raw(Connection& c, const Job& job, std::size_t i);
  void run_all(const PathInfo& path, bool bare, Connection& c, int worker, std::atomic<std::size_t>& next,
               WriteTurns& turns);
  bool run_pipeline(Connection& c, int worker, WriteTurns& turns);

  BenchOptions options;
  ScratchDatabase database;
  std::unique_ptr<pg::Session> control;
  ServerCpu server;
  DaemonId daemon;
  std::map<Form, Job> jobs;
  std::deque<Connection> connections;
  bool may_checkpoint = false;
  std::map<int, std::vector<std::string>> inserts;  ///< by rows per statement
};

Bench::Impl::Impl(const BenchOptions& o) : options(o), database(o.connect), control(connect()), server(*control) {
  queue::migrate(*control, queue::required_version());
  pg::guarded("preparing the benchmark", [&] {
    pqxx::work tx(control->sql());
    use_utc(tx);
    make_sources(tx, options);
    may_checkpoint = tx.exec1("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0].as<bool>();
    tx.commit();
  });
  daemon = queue::register_daemon(*control, {"bench", "bench", getpid(), ""}, std::chrono::hours{24}, 1);
}

void Bench::Impl::make_targets(Job& job, Form form) {
  pqxx::work tx(control->sql());
  use_utc(tx);
  cancel_pending(tx);
  ApplyPlan plan = plan_apply(tx, job.document, {});
  if (!plan.findings.empty()) throw Fault(FaultClass::fatal, "bench: " + plan.findings.front());
  if (form == Form::wide && options.columns == pg::FeatureType::numeric) {
    for (std::string& ddl : plan.ddl) {
      for (std::size_t at = 0; (at = ddl.find("double precision", at)) != std::string::npos;)
        ddl.replace(at, 16, "numeric");
    }
  }
  apply(tx, job.document, plan);
  std::vector<std::string> findings;
  for (const std::string& series : job.document.feature_set.series) {
    Place& place = job.places.emplace_back();
    place.series = series;
    for (const spec::Target& t : job.document.feature_set.targets)
      place.targets.push_back(resolve_target(tx, job.document.feature_set, t, series, findings).value());
  }
  tx.commit();
}

/// Targets, and a first run of the pipeline, whose rows are what is measured from then on.
Bench::Impl::Job& Bench::Impl::job(Form form) {
  if (const auto known = jobs.find(form); known != jobs.end()) return known->second;
  Job& job = jobs[form];
  const std::string text = specification(options, form);
  job.document = {spec::parse_feature_set(text, "bench"), text};
  job.range = spec::enumerate_partitions(job.document.feature_set).front();
  pg::guarded("preparing the benchmark", [&] { make_targets(job, form); });
  connect_workers(1);
  WriteTurns turns;
  // Except with `create` there must be something to replace in every partition.
  while (run_pipeline(connections.front(), 0, turns) && options.publish != spec::Publish::create) {
  }
  for (const ResolvedTarget& t : job.places.front().targets)
    job.streams.push_back(encoded_rows(*control, t.table.name.quoted()));
  if (job.streams.front().empty()) throw Fault(FaultClass::fatal, "bench: there was no partition to claim");
  if (form == Form::wide) {  // its partitions come and go
    pqxx::work tx(control->sql());
    const std::string target = job.places.front().targets.front().table.name.quoted();
    tx.exec("CREATE TABLE bench.sample (LIKE " + target +
            " INCLUDING INDEXES); INSERT INTO bench.sample SELECT * FROM " + target);
    tx.commit();
  }
  return job;
}

/// Every measurement begins alike: `create` without children, the others with full ones; nothing left to be
/// written.
void Bench::Impl::clear(const PathInfo& path) {
  pqxx::work tx(control->sql());
  for (const auto& row : tx.exec("SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                                 " WHERE n.nspname = 'bench' AND c.relkind = 'r' AND (c.relname LIKE 'bare%' OR "
                                 "c.relispartition AND $$" +
                                 std::string(name_of(options.publish)) + "$$ = 'create')")) {
    tx.exec("DROP TABLE bench." + pg::quote_identifier(row[0].as<std::string>()));
  }
  cancel_pending(tx);
  if (!path.encoded) {
    tx.exec_params(
        "UPDATE regfeat.partition p SET state = 'pending', epoch = epoch + 1, attempts = 0, input_fingerprint = NULL, not_before = now() "
        "  FROM regfeat.feature_set f WHERE f.feature_set_id = p.feature_set_id AND f.name = $1",
        std::string("bench_") + name_of(path.form));
  }
  tx.commit();
  if (options.publish == spec::Publish::remove) vacuum_targets();
  if (!may_checkpoint) return;
  pqxx::nontransaction outside(control->sql());
  outside.exec("CHECKPOINT");
}

/// `delete` leaves dead rows: their room is there for the next load, as autovacuum would have it.
void Bench::Impl::vacuum_targets() {
  pqxx::nontransaction outside(control->sql());
  for (const auto& row : outside.exec("SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                                      " WHERE n.nspname = 'bench' AND c.relkind = 'r' AND c.relispartition")) {
    outside.exec("VACUUM bench." + pg::quote_identifier(row[0].as<std::string>()));
  }
}

void send_all(pg::CopyIn& copy, std::span<const std::byte> rows) {
  for (; !rows.empty(); rows = rows.subspan(std::min(kSendBytes, rows.size())))
    copy.send(rows.first(std::min(kSendBytes, rows.size())));
}

void Bench::Impl::load_bare(Connection& c, const Job& job, const Place& place) {
  pqxx::work tx(c.session->sql());
  for (std::size_t t = 0; t < job.streams.size(); ++t) {
    const std::string table = fmt::format("bench.bare_{}_{}", place.series, t);
    tx.exec(fmt::format("CREATE TABLE {} (LIKE {}) WITH (autovacuum_enabled = false)", table,
                        place.targets[t].table.name.quoted()));
    pg::CopyIn copy(*c.session, "COPY " + table + " FROM STDIN (FORMAT binary, FREEZE)");
    send_all(copy, job.streams[t]);
    (void)copy.finish();
  }
  tx.commit();
}

void Bench::Impl::load_raw(Connection& c, const Job& job, std::size_t i) {
  const Place& place = job.places[i];
  auto tx = std::make_unique<pqxx::work>(c.session->sql());
  tx->exec("SET LOCAL TimeZone = 'UTC'; SET LOCAL max_parallel_maintenance_workers = 0");
  queue::Claim claim;
  claim.partition.value = static_cast<std::int64_t>(i) + 1'000'000;
  claim.range = job.range;
  std::vector<TargetWriter> writers;
  for (std::size_t t = 0; t < job.streams.size(); ++t) {
    const auto placement = populate::place(*tx, job.document.feature_set, job.document.feature_set.targets[t],
                                           place.targets[t], place.series, job.range);
    TargetWriter& w = writers.emplace_back(place.targets[t], placement, claim, t);
    w.start(*c.session, *tx);
    send_all(w.copy(), job.streams[t]);
    (void)w.finish();
  }
  for (TargetWriter& w : writers) w.settle(*tx);
  for (TargetWriter& w : writers) {
    if (w.attaches()) w.attach(*tx, TargetWriter::AttachWait::long_enough);
  }
  if (options.publish == spec::Publish::swap) {
    tx->commit();
    tx.reset();
    tx = std::make_unique<pqxx::work>(c.session->sql());
    for (TargetWriter& w : writers) w.exchange(*tx);
  }
  tx->commit();
}

bool Bench::Impl::run_pipeline(Connection& c, int worker, WriteTurns& turns) {
  queue::Timings timings;
  const auto start = Clock::now();
  const auto claim = queue::claim(*c.session, daemon, worker);
  if (!claim) return false;
  timings.claim_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  Silent silent;
  RunOptions run;
  run.turns = &turns;
  run.send_rows = options.send_rows;
  if (c.runner.run(*c.session, *claim, run, silent, {}, timings) != RunResult::done)
    throw Fault(FaultClass::fatal, "bench: a partition came out empty");
  c.timings += timings;
  return true;
}

/// One thread's part of a measurement.
void Bench::Impl::run_all(const PathInfo& path, bool bare, Connection& c, int worker, std::atomic<std::size_t>& next,
                          WriteTurns& turns) {
  if (!path.encoded) {
    while (run_pipeline(c, worker, turns)) {
    }
    return;
  }
  const Job& job = jobs.at(path.form);
  for (std::size_t i = 0; (i = next++) < job.places.size();)
    bare ? load_bare(c, job, job.places[i]) : load_raw(c, job, i);
}

Bench::Bench(const BenchOptions& options) : impl_(std::make_unique<Impl>(options)) {}

Bench::~Bench() = default;

BenchMeasurement Bench::measure(BenchPath which, int connections) {
  Impl& b = *impl_;
  const PathInfo& path = info(which);
  if (path.rows_per_insert > 0) return b.measure_inserts(path.rows_per_insert);
  const Impl::Job& job = b.job(path.form);
  BenchMeasurement m;
  m.workers = path.ahead ? connections + (connections + 1) / 2 : connections;
  b.connect_workers(m.workers);
  b.clear(path);
  std::atomic<std::size_t> next{0};
  WriteTurns turns(connections);
  std::latch ready(m.workers + 1);
  std::vector<std::future<void>> threads;
  for (int k = 0; k < m.workers; ++k) {
    Impl::Connection& c = b.connections[static_cast<std::size_t>(k)];
    c.timings = {};
    threads.push_back(std::async(std::launch::async, [&, k] {
      ready.arrive_and_wait();
      b.run_all(path, which == BenchPath::bare, c, k, next, turns);
    }));
  }
  const Meter meter(b.server);
  ready.arrive_and_wait();
  for (auto& t : threads) t.get();
  meter.finish(m);
  m.rows =
      static_cast<std::int64_t>(b.options.rows) * b.options.partitions * static_cast<std::int64_t>(job.streams.size());
  for (const auto& s : job.streams) m.bytes += static_cast<std::int64_t>(s.size()) * b.options.partitions;
  for (int k = 0; k < m.workers; ++k) m.timings += b.connections[static_cast<std::size_t>(k)].timings;
  return m;
}

const std::vector<std::string>& Bench::Impl::insert_statements(int rows_per_statement) {
  std::vector<std::string>& statements = inserts[rows_per_statement];
  if (!statements.empty()) return statements;
  pqxx::work tx(control->sql());
  tx.exec("CREATE TABLE IF NOT EXISTS bench.inserts (LIKE bench.sample INCLUDING INDEXES)");
  int taken = 0;
  for (const auto& row : tx.exec(fmt::format("SELECT * FROM bench.sample LIMIT {}", kInsertedRows))) {
    if (taken++ % rows_per_statement == 0) statements.emplace_back("INSERT INTO bench.inserts VALUES ");
    std::string& statement = statements.back();
    statement += statement.back() == ' ' ? "(" : ",(";
    for (const auto& field : row)
      statement +=
          (field.num() == 0 ? "" : ",") + (field.is_null() ? std::string("NULL") : pg::quote_literal(field.c_str()));
    statement += ')';
  }
  tx.commit();
  return statements;
}

/// A DELETE of what is there (nothing: the table is new), the INSERTs, a commit after each of both.
BenchMeasurement Bench::Impl::measure_inserts(int rows_per_statement) {
  const Job& wide = job(Form::wide);
  const std::vector<std::string>& statements = insert_statements(rows_per_statement);
  pqxx::nontransaction(control->sql()).exec("TRUNCATE bench.inserts");
  clear(info(BenchPath::insert));
  BenchMeasurement m;
  m.workers = 1;
  const Meter meter(server);
  {
    pqxx::work tx(control->sql());
    tx.exec("DELETE FROM bench.inserts");
    tx.commit();
  }
  pqxx::work tx(control->sql());
  for (const std::string& s : statements) m.rows += static_cast<std::int64_t>(tx.exec(s).affected_rows());
  tx.commit();
  meter.finish(m);
  m.bytes = static_cast<std::int64_t>(wide.streams.front().size()) * m.rows / options.rows;
  return m;
}

std::string Bench::describe() const {
  const std::size_t targets = impl_->job(Form::wide).streams.size();
  pqxx::work tx(impl_->control->sql());
  const pqxx::row row = tx.exec1("SELECT current_setting('server_version'), current_setting('wal_level')");
  return fmt::format(
      "PostgreSQL {}, wal_level {}, publish: {}, {} partitions × {} rows × {} targets × 90 columns of {}; {}",
      row[0].as<std::string>(), row[1].as<std::string>(), name_of(impl_->options.publish), impl_->options.partitions,
      impl_->options.rows, targets,
      impl_->options.columns == pg::FeatureType::float8   ? "double precision"
      : impl_->options.columns == pg::FeatureType::float4 ? "real"
                                                          : "numeric",
      impl_->may_checkpoint ? "a CHECKPOINT before each measurement"
                            : "no CHECKPOINT before measurements, as the role may not");
}

}  // namespace regfeatd::populate
