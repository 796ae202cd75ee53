#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::test {

/// What a finished process left behind.
struct Finished {
  int exit_status = 0;  ///< -signal when a signal ended it
  std::string out;      ///< standard output and standard error
};

/// A child process; killed when it is still there at the end of the scope.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  void signal(int number) const;
  [[nodiscard]] bool running();
  /// Keeps a file of the process's until the process ends.
  void keep(std::shared_ptr<const void> file) { kept_.push_back(std::move(file)); }
  /// What it has written so far.
  [[nodiscard]] std::string output() const;
  Finished wait();
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  pid_t pid_ = -1;
  int output_ = -1;  // a file in memory, so that a process that says much never waits for its reader
  std::optional<int> status_;
  std::vector<std::shared_ptr<const void>> kept_;
};

/// The program under test, run to its end.
Finished regfeatd(const std::vector<std::string>& arguments);

/// A server of the test's own, for what cannot be done to one that other tests use; destroyed at the end.
class Cluster {
 public:
  explicit Cluster(const std::vector<std::string>& start_options = {});
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  /// scripts/pg with this cluster's folder; its output. Throws when it fails.
  std::string pg(const std::vector<std::string>& arguments) const;
  [[nodiscard]] std::string conninfo() const { return pg({"conninfo"}); }

 private:
  std::filesystem::path folder_;
};

/// A database of the test's own, by default on the private cluster that ctest started; dropped at the end.
class Database {
 public:
  Database();
  explicit Database(const std::string& cluster_conninfo);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  [[nodiscard]] const std::string& conninfo() const noexcept { return conninfo_; }
  [[nodiscard]] std::string conninfo_as(const std::string& role) const;
  [[nodiscard]] std::unique_ptr<pg::Session> session() const;
  void exec(const std::string& sql) const;
  [[nodiscard]] std::string text(
      const std::string& sql) const;  ///< first column of the first row; "" for NULL or no row
  [[nodiscard]] std::int64_t count(const std::string& sql) const;
  /// Runs the program with --conninfo of this database.
  Finished regfeatd(std::vector<std::string> arguments) const;

  void migrate() const;
  /// Minute bars bqx.m1_<pair> (timestamp, numeric) and bqx.bqx_<pair> (timestamptz, double precision), as
  /// scripts/load-bars makes them: `days` days from 2024-07-01, weekends left out, a minute missing here and there.
  void make_bars(const std::string& pair, int days) const;
  /// MD5 over all rows of a table in the order of a column.
  [[nodiscard]] std::string checksum(const std::string& table, const std::string& order = "ts_utc") const;

 private:
  std::string cluster_;
  std::string name_;
  std::string conninfo_;
};

/// A file in a temporary folder of the test's own.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, const std::string& text);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path folder_, path_;
};

/// The specification of design, section 4, for given series and days: partitions by day from 2024-07-01.
std::string bars_specification(const std::vector<std::string>& pairs, int days, const std::string& lookback = "rows",
                               const std::string& metrics = "coefficients",
                               const std::string& windows = "{ w15: 15, w30: 30, agg: 90 }");

/// The folder of the real data, when it is there.
std::optional<std::filesystem::path> real_data();

}  // namespace regfeatd::test
