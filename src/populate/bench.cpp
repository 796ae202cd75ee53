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

std::string series_name(int i) {
  return fmt::format("s{}", i + 1);
}

std::string specification(const BenchOptions& o) {
  std::string series;
  for (int i = 0; i < o.partitions; ++i) series += (i == 0 ? "" : ", ") + series_name(i);
  return fmt::format(R"(feature_set: bench
series: [{}]
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
storage: {}
targets:
  - {{ input: idx, table: "bench.reg_rate_{{series}}", time: ts_utc, column: "{{metric}}_idx_{{window}}", partition: "{{table}}_{{start}}", publish: {} }}
  - {{ input: bqx, table: "bench.reg_bqx_{{series}}", time: ts_utc, column: "{{metric}}_bqx_{{window}}", partition: "{{table}}_{{start}}", publish: {} }}
)",
                     series, o.columns == pg::FeatureType::float4 ? "real" : "double",
                     o.publish == spec::Publish::swap ? "swap" : "create",
                     o.publish == spec::Publish::swap ? "swap" : "create");
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
      : server_(server),
        server_cpu_(server.seconds()),
        client_cpu_(client_cpu_seconds()),
        start_(Clock::now()) {}
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
    if (!tx.exec1("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")[0]
             .as<bool>()) {
      throw Fault(
          FaultClass::configuration,
          "bench works in a database of its own, which it creates and drops: the role needs CREATEDB");
    }
    // What a run left that was killed; one that goes on has sessions in its database.
    for (const auto& row :
         tx.exec("SELECT datname FROM pg_database d WHERE datname ~ '^regfeatd_bench_[0-9]+$' AND "
                 "pg_has_role(datdba, 'USAGE') "
                 "   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)")) {
      tx.exec("DROP DATABASE IF EXISTS " + pg::quote_identifier(row[0].as<std::string>()));
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

const char* to_string(BenchPath path) noexcept {
  switch (path) {
    case BenchPath::bare:
      return "bare COPY";
    case BenchPath::raw:
      return "raw COPY";
    case BenchPath::pipeline:
      return "pipeline";
  }
  return "unknown";
}

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

  [[nodiscard]] std::unique_ptr<pg::Session> connect() const {
    pg::ConnectOptions scratch = options.connect;
    scratch.database = database.name();
    return std::make_unique<pg::Session>(scratch);
  }
  void exec(const std::string& sql) {
    pqxx::work tx(control->sql());
    tx.exec(sql);
    tx.commit();
  }
  void set_up();
  void clear(BenchPath path);
  void load_bare(Connection& c, const Place& place);
  void load_raw(Connection& c, std::size_t i);
  bool run_pipeline(Connection& c, int worker);

  BenchOptions options;
  ScratchDatabase database;
  std::unique_ptr<pg::Session> control;
  ServerCpu server;
  spec::FeatureSetDocument document;
  OrderRange range;
  DaemonId daemon;
  std::vector<Place> places;
  std::vector<std::vector<std::byte>> streams;  ///< by target: the rows of a partition, encoded
  std::deque<Connection> connections;
  bool may_checkpoint = false;
};

Bench::Impl::Impl(const BenchOptions& o)
    : options(o), database(o.connect), control(connect()), server(*control) {
  queue::migrate(*control, queue::required_version());
  const std::string text = specification(o);
  document = {spec::parse_feature_set(text, "bench"), text};
  range = spec::enumerate_partitions(document.feature_set).front();
  set_up();
  daemon = queue::register_daemon(*control, {"bench", "bench", getpid(), ""}, std::chrono::hours{24}, 1);
}

/// Sources, targets, and a first run of the pipeline, whose rows are what is measured from then on.
void Bench::Impl::set_up() {
  pg::guarded("preparing the benchmark", [&] {
    pqxx::work tx(control->sql());
    use_utc(tx);
    make_sources(tx, options);
    ApplyPlan plan = plan_apply(tx, document, {});
    if (!plan.findings.empty()) throw Fault(FaultClass::fatal, "bench: " + plan.findings.front());
    if (options.columns == pg::FeatureType::numeric) {
      for (std::string& ddl : plan.ddl) {
        for (std::size_t at = 0; (at = ddl.find("double precision", at)) != std::string::npos;)
          ddl.replace(at, 16, "numeric");
      }
    }
    apply(tx, document, plan);
    std::vector<std::string> findings;
    for (const std::string& series : document.feature_set.series) {
      Place& place = places.emplace_back();
      place.series = series;
      for (const spec::Target& t : document.feature_set.targets)
        place.targets.push_back(resolve_target(tx, document.feature_set, t, series, findings).value());
    }
    may_checkpoint = tx.exec1("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0].as<bool>();
    tx.commit();
  });
}

/// Every measurement begins alike: `create` without children, `swap` with full ones; nothing left to be
/// written.
void Bench::Impl::clear(BenchPath path) {
  pqxx::work tx(control->sql());
  for (const auto& row :
       tx.exec("SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
               " WHERE n.nspname = 'bench' AND c.relkind = 'r' AND (c.relname LIKE 'bare%' OR "
               "c.relispartition AND $$" +
               std::string(options.publish == spec::Publish::swap ? "swap" : "create") + "$$ = 'create')")) {
    tx.exec("DROP TABLE bench." + pg::quote_identifier(row[0].as<std::string>()));
  }
  if (path == BenchPath::pipeline) {
    tx.exec(
        "UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, attempts = 0, input_fingerprint "
        "= NULL, not_before = now()");
  }
  tx.commit();
  if (!may_checkpoint) return;
  pqxx::nontransaction outside(control->sql());
  outside.exec("CHECKPOINT");
}

void Bench::Impl::load_bare(Connection& c, const Place& place) {
  pqxx::work tx(c.session->sql());
  for (std::size_t t = 0; t < streams.size(); ++t) {
    const std::string table = fmt::format("bench.bare_{}_{}", place.series, t);
    tx.exec(fmt::format("CREATE TABLE {} (LIKE {}) WITH (autovacuum_enabled = false)", table,
                        place.targets[t].table.name.quoted()));
    pg::CopyIn copy(*c.session, "COPY " + table + " FROM STDIN (FORMAT binary, FREEZE)");
    for (std::span<const std::byte> rest(streams[t]); !rest.empty();
         rest = rest.subspan(std::min(kSendBytes, rest.size()))) {
      copy.send(rest.first(std::min(kSendBytes, rest.size())));
    }
    (void)copy.finish();
  }
  tx.commit();
}

void Bench::Impl::load_raw(Connection& c, std::size_t i) {
  const Place& place = places[i];
  auto tx = std::make_unique<pqxx::work>(c.session->sql());
  tx->exec("SET LOCAL TimeZone = 'UTC'; SET LOCAL max_parallel_maintenance_workers = 0");
  queue::Claim claim;
  claim.partition.value = static_cast<std::int64_t>(i) + 1'000'000;
  claim.range = range;
  std::vector<TargetWriter> writers;
  for (std::size_t t = 0; t < streams.size(); ++t) {
    const auto placement = populate::place(*tx, document.feature_set, document.feature_set.targets[t],
                                           place.targets[t], place.series, range);
    TargetWriter& w = writers.emplace_back(place.targets[t], placement, claim, t);
    w.start(*c.session, *tx);
    for (std::span<const std::byte> rest(streams[t]); !rest.empty();
         rest = rest.subspan(std::min(kSendBytes, rest.size()))) {
      w.copy().send(rest.first(std::min(kSendBytes, rest.size())));
    }
    (void)w.finish();
  }
  for (TargetWriter& w : writers) w.settle(*tx);
  if (options.publish == spec::Publish::swap) {
    tx->commit();
    tx.reset();
    tx = std::make_unique<pqxx::work>(c.session->sql());
    for (TargetWriter& w : writers) w.exchange(*tx);
  }
  tx->commit();
}

bool Bench::Impl::run_pipeline(Connection& c, int worker) {
  queue::Timings timings;
  const auto start = Clock::now();
  const auto claim = queue::claim(*c.session, daemon, worker);
  if (!claim) return false;
  timings.claim_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  Silent silent;
  if (c.runner.run(*c.session, *claim, {}, silent, {}, timings) != RunResult::done)
    throw Fault(FaultClass::fatal, "bench: a partition came out empty");
  c.timings.claim_ms += timings.claim_ms;
  c.timings.read_ms += timings.read_ms;
  c.timings.fit_ms += timings.fit_ms;
  c.timings.encode_ms += timings.encode_ms;
  c.timings.send_ms += timings.send_ms;
  c.timings.publish_ms += timings.publish_ms;
  return true;
}

Bench::Bench(const BenchOptions& options) : impl_(std::make_unique<Impl>(options)) {
  if (options.publish == spec::Publish::swap) {
    (void)measure(BenchPath::pipeline, 1);  // there is something to exchange in every partition
  } else {
    impl_->connections.emplace_back().session = impl_->connect();
    if (!impl_->run_pipeline(impl_->connections.front(), 0))
      throw Fault(FaultClass::fatal, "bench: there is no partition to claim");
  }
  for (const ResolvedTarget& t : impl_->places.front().targets)
    impl_->streams.push_back(encoded_rows(*impl_->control, t.table.name.quoted()));
}

Bench::~Bench() = default;

BenchMeasurement Bench::measure(BenchPath path, int connections) {
  Impl& b = *impl_;
  while (b.connections.size() < static_cast<std::size_t>(connections)) {
    b.connections.emplace_back().session = b.connect();
  }
  b.clear(path);
  std::atomic<std::size_t> next{0};
  std::latch ready(connections + 1);
  std::vector<std::future<void>> threads;
  for (int k = 0; k < connections; ++k) {
    Impl::Connection& c = b.connections[static_cast<std::size_t>(k)];
    c.timings = {};
    threads.push_back(std::async(std::launch::async, [&b, &c, &next, &ready, path, k] {
      ready.arrive_and_wait();
      if (path == BenchPath::pipeline) {
        while (b.run_pipeline(c, k)) {
        }
        return;
      }
      for (std::size_t i = 0; (i = next++) < b.places.size();)
        path == BenchPath::bare ? b.load_bare(c, b.places[i]) : b.load_raw(c, i);
    }));
  }
  BenchMeasurement m;
  const Meter meter(b.server);
  ready.arrive_and_wait();
  for (auto& t : threads) t.get();
  meter.finish(m);
  m.rows = static_cast<std::int64_t>(b.options.rows) * b.options.partitions *
           static_cast<std::int64_t>(b.document.feature_set.targets.size());
  for (const auto& s : b.streams) m.bytes += static_cast<std::int64_t>(s.size()) * b.options.partitions;
  for (int k = 0; k < connections; ++k) {
    const queue::Timings& t = b.connections[static_cast<std::size_t>(k)].timings;
    m.timings.claim_ms += t.claim_ms;
    m.timings.read_ms += t.read_ms;
    m.timings.fit_ms += t.fit_ms;
    m.timings.encode_ms += t.encode_ms;
    m.timings.send_ms += t.send_ms;
    m.timings.publish_ms += t.publish_ms;
  }
  return m;
}

BenchMeasurement Bench::measure_inserts(int rows, int rows_per_statement) {
  Impl& b = *impl_;
  std::vector<std::string> statements;
  {
    pqxx::work tx(b.control->sql());
    const std::string target = b.places.front().targets.front().table.name.quoted();
    tx.exec("DROP TABLE IF EXISTS bench.inserts; CREATE TABLE bench.inserts (LIKE " + target +
            " INCLUDING INDEXES)");
    int taken = 0;
    for (const auto& row : tx.exec(fmt::format("SELECT * FROM {} LIMIT {}", target, rows))) {
      if (taken++ % rows_per_statement == 0) statements.emplace_back("INSERT INTO bench.inserts VALUES ");
      std::string& statement = statements.back();
      statement += statement.back() == ' ' ? "(" : ",(";
      for (const auto& field : row)
        statement += (field.num() == 0 ? "" : ",") +
                     (field.is_null() ? std::string("NULL") : pg::quote_literal(field.c_str()));
      statement += ')';
    }
    tx.commit();
  }
  BenchMeasurement m;
  m.rows = rows;
  const Meter meter(b.server);
  pqxx::work tx(b.control->sql());
  for (const std::string& s : statements) tx.exec(s);
  tx.commit();
  meter.finish(m);
  return m;
}

std::string Bench::describe() const {
  pqxx::work tx(impl_->control->sql());
  const pqxx::row row = tx.exec1("SELECT current_setting('server_version'), current_setting('wal_level')");
  return fmt::format(
      "PostgreSQL {}, wal_level {}, {}, {} partitions × {} rows × {} targets × 90 columns of {}; {}",
      row[0].as<std::string>(), row[1].as<std::string>(),
      impl_->options.publish == spec::Publish::swap ? "publish: swap" : "publish: create",
      impl_->options.partitions, impl_->options.rows, impl_->streams.size(),
      impl_->options.columns == pg::FeatureType::float8   ? "double precision"
      : impl_->options.columns == pg::FeatureType::float4 ? "real"
                                                          : "numeric",
      impl_->may_checkpoint ? "a CHECKPOINT before each measurement"
                            : "no CHECKPOINT before measurements, as the role may not");
}

}  // namespace regfeatd::populate
