#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pg_fixture.hpp"

namespace regfeatd::test {

/// Waits for something that must come; how long it takes is not judged.
[[nodiscard]] bool eventually(const std::function<bool()>& condition);

/// The size of a disturbance test: short in every run, long with REGFEATD_CHAOS=full (scripts/chaos).
[[nodiscard]] int chaos_size(int brief, int full);

/// What the random moments of this run come from; printed, and set by REGFEATD_CHAOS_SEED to have them again.
[[nodiscard]] unsigned chaos_seed();

/// A job of many small partitions: 20 rows each of a sequence, two inputs, one plain target. Applied, not run.
void apply_small_job(const Database& db, int partitions);

/// A job whose partitions take longer and make tables: minute bars, partitions by day, two targets that are partitioned.
void apply_bars_job(const Database& db, const std::vector<std::string>& pairs, int days);

/// Content of all targets of a job (`small` or `bars`), by table: to hold against that of an undisturbed run.
[[nodiscard]] std::map<std::string, std::string> target_checksums(const Database& db);

/// The same of a job that nobody disturbs, computed in a database of its own.
[[nodiscard]] std::map<std::string, std::string> undisturbed(const std::function<void(const Database&)>& make);

/// Short lease, poll and back-off, so that what they are for happens soon.
inline constexpr const char* kQuickSettings =
    "lease: 2s\nheartbeat: 200ms\npoll: 200ms\nprogress: 500ms\nretry: { base: 1ms, cap: 100ms }\nshutdown_grace: 20s\ndaemon_name: chaos\n";

/// A daemon of `workers` workers on a database.
[[nodiscard]] std::unique_ptr<Process> start_daemon(const std::string& conninfo, int workers,
                                                    const std::string& settings = kQuickSettings);

/// What must hold when a disturbed job is over: every partition done exactly once by its attempts, every other attempt
/// ended with an outcome and a reason, nothing left running. Adds to the test's failures what does not.
void expect_complete_and_explained(const Database& db);

}  // namespace regfeatd::test
