#include "pg_fixture.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "regfeatd/base/order.hpp"

namespace regfeatd::test {
namespace {

std::string cluster_conninfo() {
  static const std::string text = [] {
    const Finished f = Process({SOURCE_DIR "/scripts/pg", "--dir", TEST_CLUSTER, "conninfo"}).wait();
    if (f.exit_status != 0) throw std::runtime_error("no private cluster: run the tests through ctest. " + f.out);
    return f.out.substr(0, f.out.find('\n'));
  }();
  return text;
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments) {
  output_ = memfd_create("output", MFD_CLOEXEC);
  if (output_ < 0) throw std::runtime_error("memfd_create failed");
  pid_ = fork();
  if (pid_ == 0) {
    dup2(output_, STDOUT_FILENO);
    dup2(output_, STDERR_FILENO);
    std::vector<char*> argv;
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
}

Process::~Process() {
  if (!status_) {
    kill(pid_, SIGKILL);
    kill(pid_, SIGCONT);
    waitpid(pid_, nullptr, 0);
  }
  close(output_);
}

void Process::signal(int number) const {
  if (!status_) kill(pid_, number);
}

bool Process::running() {
  if (status_) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return !status_;
}

std::string Process::output() const {
  std::string out;
  std::array<char, 4096> buffer{};
  off_t at = 0;
  for (ssize_t n = 0; (n = pread(output_, buffer.data(), buffer.size(), at)) > 0; at += n)
    out.append(buffer.data(), static_cast<std::size_t>(n));
  return out;
}

Finished Process::wait() {
  Finished f;
  int status = 0;
  if (!status_ && waitpid(pid_, &status, 0) == pid_) status_ = status;
  f.out = output();
  f.exit_status = WIFSIGNALED(*status_) ? -WTERMSIG(*status_) : WEXITSTATUS(*status_);
  return f;
}

Finished regfeatd(const std::vector<std::string>& arguments) {
  std::vector<std::string> all{REGFEATD_BINARY};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return Process(all).wait();
}

Cluster::Cluster(const std::vector<std::string>& start_options) {
  std::string pattern = (std::filesystem::temp_directory_path() / "regfeatd-cluster-XXXXXX").string();
  folder_ = mkdtemp(pattern.data());
  std::vector<std::string> arguments{"start", "--fast-unsafe"};
  arguments.insert(arguments.end(), start_options.begin(), start_options.end());
  pg(arguments);
}

Cluster::~Cluster() {
  try {
    pg({"destroy"});
    std::filesystem::remove_all(folder_);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "cannot destroy the cluster in %s: %s\n", folder_.c_str(), e.what());
  }
}

std::string Cluster::pg(const std::vector<std::string>& arguments) const {
  std::vector<std::string> all{SOURCE_DIR "/scripts/pg", "--dir", (folder_ / "pg").string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const Finished f = Process(all).wait();
  if (f.exit_status != 0) throw std::runtime_error("scripts/pg " + arguments.front() + ": " + f.out);
  return f.out.substr(0, f.out.find_last_not_of('\n') + 1);
}

Database::Database() : Database(cluster_conninfo()) {}

Database::Database(const std::string& cluster_conninfo) : cluster_(cluster_conninfo) {
  static std::atomic<int> number{0};
  name_ = fmt::format("t{}_{}", getpid(), ++number);
  pg::Session admin({cluster_, "test"});
  pqxx::nontransaction tx(admin.sql());
  tx.exec("CREATE DATABASE " + name_);
  conninfo_ = cluster_ + " dbname=" + name_;
}

Database::~Database() {
  try {
    pg::Session admin({cluster_, "test"});
    pqxx::nontransaction tx(admin.sql());
    tx.exec("DROP DATABASE " + name_ + " WITH (FORCE)");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "cannot drop %s: %s\n", name_.c_str(), e.what());
  }
}

std::string Database::conninfo_as(const std::string& role) const { return conninfo_ + " user=" + role; }

std::unique_ptr<pg::Session> Database::session() const {
  return std::make_unique<pg::Session>(pg::ConnectOptions{conninfo_, "test"});
}

void Database::exec(const std::string& sql) const {
  const auto s = session();
  pqxx::work tx(s->sql());
  tx.exec(sql);
  tx.commit();
}

std::string Database::text(const std::string& sql) const {
  const auto s = session();
  pqxx::work tx(s->sql());
  const pqxx::result r = tx.exec(sql);
  return r.empty() || r[0][0].is_null() ? std::string() : r[0][0].as<std::string>();
}

std::int64_t Database::count(const std::string& sql) const { return std::stoll(text(sql)); }

Finished Database::regfeatd(std::vector<std::string> arguments) const {
  arguments.insert(arguments.end(), {"--conninfo", conninfo_});
  return test::regfeatd(arguments);
}

void Database::migrate() const {
  const Finished f = regfeatd({"migrate"});
  if (f.exit_status != 0) throw std::runtime_error(f.out);
}

void Database::make_bars(const std::string& pair, int days) const {
  exec(fmt::format(R"(
    CREATE SCHEMA IF NOT EXISTS bqx;
    CREATE TABLE bqx.m1_{0} (time timestamp PRIMARY KEY, close numeric, rate_index numeric);
    CREATE TABLE bqx.bqx_{0} (ts_utc timestamptz PRIMARY KEY, w15_bqx_return double precision);
    INSERT INTO bqx.m1_{0}
      SELECT t, 1 + (i % 977 * 31 % 401) / 40000.0 + sin(i / 300.0)::numeric(8, 5) / 20, NULL
        FROM (SELECT timestamp '2024-07-01' + i * interval '1 minute' AS t, i FROM generate_series(0, {1} * 1440 - 1) i) m
       WHERE extract(isodow FROM t) < 6 AND i % 97 <> 13;
    UPDATE bqx.m1_{0} SET rate_index = 100 * close / (SELECT close FROM bqx.m1_{0} ORDER BY time LIMIT 1);
    INSERT INTO bqx.bqx_{0}
      SELECT time AT TIME ZONE 'UTC', coalesce((sum(rate_index) OVER w - count(*) OVER w * rate_index) / rate_index, 0)::double precision
        FROM bqx.m1_{0} WINDOW w AS (ORDER BY time ROWS BETWEEN 15 PRECEDING AND 1 PRECEDING);
    ANALYZE bqx.m1_{0}, bqx.bqx_{0};)",
                   pair, days));
}

std::string Database::checksum(const std::string& table, const std::string& order) const {
  return text(fmt::format("SELECT md5(string_agg(md5(t::text), '' ORDER BY {})) FROM {} t", order, table));
}

TemporaryFile::TemporaryFile(const std::string& name, const std::string& text) {
  std::string pattern = (std::filesystem::temp_directory_path() / "regfeatd-test-XXXXXX").string();
  folder_ = mkdtemp(pattern.data());
  path_ = folder_ / name;
  std::ofstream(path_) << text;
}

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string bars_specification(const std::vector<std::string>& pairs, int days, const std::string& lookback,
                               const std::string& metrics, const std::string& windows) {
  std::string series;
  for (const std::string& p : pairs) series += (series.empty() ? "" : ", ") + p;
  const std::string end = format_time(*parse_time("2024-07-01") + days * kMicrosPerDay).substr(0, 10);
  return fmt::format(R"(feature_set: bars
series: [{}]
partition: {{ by: day, from: 2024-07-01, to: {} }}
source:
  join: time
  tables:
    - {{ table: "bqx.m1_{{series}}", time: time }}
    - {{ table: "bqx.bqx_{{series}}", time: ts_utc }}
inputs:
  idx: {{ column: rate_index }}
  bqx: {{ column: w15_bqx_return }}
windows: {}
metrics: {}
lookback: {}
targets:
  - {{ input: idx, table: "bqx.reg_rate_{{series}}", time: ts_utc, column: "{{metric}}_idx_{{window}}", partition: "{{table}}_{{start:%Y_%m_%d}}" }}
  - {{ input: bqx, table: "bqx.reg_bqx_{{series}}", time: ts_utc, column: "{{metric}}_bqx_{{window}}", partition: "{{table}}_{{start:%Y_%m_%d}}" }}
)",
                     series, end, windows, metrics, lookback);
}

std::optional<std::filesystem::path> real_data() {
  const char* given = std::getenv("REGFEATD_DATA_DIR");
  const std::filesystem::path folder =
      given != nullptr ? std::filesystem::path(given) : std::filesystem::path(SOURCE_DIR) / ".." / "shared" / "data";
  if (!std::filesystem::exists(folder / "fx_m1")) return std::nullopt;
  return folder;
}

}  // namespace regfeatd::test
