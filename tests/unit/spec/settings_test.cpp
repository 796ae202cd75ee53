#include "regfeatd/spec/settings.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "documents.hpp"
#include "spec/conninfo.hpp"
#include "spec/cores.hpp"

namespace regfeatd::spec {
namespace {

using namespace std::chrono_literals;

TEST(Settings, ReadsEveryKey) {
  const Settings s = parse_settings(
      "database: { conninfo: \"service=bqx\" }\nworkers: 3\nwriters: 2\nmemory_budget: 512MiB\nlease: 30s\nheartbeat: "
      "5s\npoll: 1s\n"
      "progress: 500ms\nstalled_after: 1min\nretry: { attempts: 7, base: 2s, cap: 1min }\nshutdown_grace: 0s\nlisten: "
      "false\ndaemon_name: a b\n"
      "log: { level: warning, format: json }\n",
      "c.yaml");
  EXPECT_EQ(s.conninfo, "service=bqx");
  EXPECT_EQ(s.workers, 3);
  EXPECT_EQ(s.writers, 2);
  EXPECT_EQ(s.memory_budget_bytes, 512U << 20);
  EXPECT_EQ(s.lease, 30s);
  EXPECT_EQ(s.heartbeat, 5s);
  EXPECT_EQ(s.poll, 1s);
  EXPECT_EQ(s.progress, 500ms);
  EXPECT_EQ(s.stalled_after, 60s);
  EXPECT_EQ(s.retry, (Settings::Retry{7, 2s, 1min}));
  EXPECT_EQ(s.shutdown_grace, 0s);
  EXPECT_FALSE(s.listen);
  EXPECT_EQ(s.daemon_name, "a b");
  EXPECT_EQ(s.log_level, log::Level::warning);
  EXPECT_EQ(s.log_format, log::Format::json);
  EXPECT_EQ(s.file, "c.yaml");
}

TEST(Settings, PasswordCommandAndTimeouts) {
  const Settings s = parse_settings(
      "database: { password_command: [/usr/bin/aws, rds, \"a b\"], password_command_timeout: 3s, statement_timeout: 0s }\n",
      "c.yaml");
  EXPECT_EQ(s.password_command, (List{"/usr/bin/aws", "rds", "a b"}));
  EXPECT_EQ(s.password_command_timeout, 3s);
  EXPECT_EQ(s.statement_timeout, 0s);
  EXPECT_EQ(parse_settings("database: { password_command: /usr/local/bin/token }\n", "c.yaml").password_command,
            List{"/usr/local/bin/token"});
  EXPECT_EQ(
      settings_findings("database: { password_command: /usr/bin/aws rds }\n"),
      List{
          "c.yaml:1: database.password_command: must be a list, program and arguments apart, such as [/usr/bin/aws, rds, "
          "generate-db-auth-token]; it is run without a shell"});
  EXPECT_EQ(settings_findings("database: { password_command: [] }\n").size(), 1U);
}

TEST(Settings, Throttle) {
  const Settings s = parse_settings(
      "throttle: { rows_per_second: 5000, commit_latency: 250ms, replication_lag: 64MiB, automatic: true }\n",
      "c.yaml");
  EXPECT_EQ(s.throttle, (Settings::Throttle{5000, 250ms, 64U << 20, true}));
  EXPECT_EQ(parse_settings("throttle: { commit_latency: 1s }\n", "c.yaml").throttle,
            (Settings::Throttle{std::nullopt, 1s, std::nullopt, false}));
  try {
    (void)parse_settings(
        "throttle:\n  rows_per_second: 0\n  commit_latency: soon\n  replication_lag: 2 weeks\n  auto: yes\n", "c.yaml");
    ADD_FAILURE() << "accepted";
  } catch (const SpecError& e) {
    EXPECT_EQ(e.findings().size(), 4U);
    EXPECT_EQ(std::count_if(e.findings().begin(), e.findings().end(),
                            [](const auto& f) {
                              return f.find("throttle.replication_lag: must be a size") != std::string::npos;
                            }),
              1);
  }
}

TEST(Settings, AnEmptyDocumentGivesTheDefaults) {
  Settings s = parse_settings("", "c.yaml");
  s.file.clear();
  EXPECT_EQ(s, Settings{});
  EXPECT_EQ(parse_settings("workers: auto\n", "c.yaml").workers, std::nullopt);
  EXPECT_EQ(parse_settings("writers: all\n", "c.yaml").writers, std::nullopt);
}

TEST(Settings, AllMistakesAtOnce) {
  EXPECT_EQ(settings_findings("workers: 0\nmemory_budget: 1MiB\nlease: 60\nlisten: yes\nlog: { level: loud, "
                              "fromat: json }\npoll: 2d\n"),
            (List{"c.yaml:1: workers: must be a whole number from 1 to 1024, not \"0\"",
                  "c.yaml:2: memory_budget: must be at least 64MiB, not \"1MiB\"",
                  "c.yaml:3: lease: must be a duration with a unit (us, ms, s, min, h, d, w), such as 10s, "
                  "not \"60\"",
                  "c.yaml:4: listen: must be true or false, not \"yes\"",
                  "c.yaml:5: log: unknown key \"fromat\"; did you mean \"format\"?",
                  "c.yaml:5: log.level: must be debug, info, warning or error, not \"loud\"",
                  "c.yaml:6: poll: must be from 10 ms to 1 h 00 min, not \"2d\""}));
  EXPECT_EQ(settings_findings("workers: many\n"),
            List{"c.yaml:1: workers: must be auto or a whole number from 1 to 1024, not \"many\""});
  EXPECT_EQ(settings_findings("writers: auto\n"),
            List{"c.yaml:1: writers: must be all or a whole number from 1 to 1024, not \"auto\""});
  EXPECT_EQ(settings_findings("workers: 1025\n"),
            List{"c.yaml:1: workers: must be a whole number from 1 to 1024, not \"1025\""});
  EXPECT_EQ(settings_findings("workers: [1]\n"),
            List{"c.yaml:1: workers: must be auto or a whole number from 1 to 1024, not a list"});
  EXPECT_EQ(settings_findings("memory_budget: much\n"),
            List{"c.yaml:1: memory_budget: must be a size such as 512MiB or 1GiB, not \"much\""});
}

TEST(Settings, ValuesMustFitTogether) {
  EXPECT_EQ(settings_findings("lease: 60s\nheartbeat: 31s\n"),
            List{"c.yaml:2: heartbeat: 31 s is more than half the lease of 1 min 00 s; one late heartbeat "
                 "must not lose the lease"});
  EXPECT_TRUE(settings_findings("lease: 60s\nheartbeat: 30s\n").empty());
  // A lease that is too short for the default heartbeat is found where the lease stands.
  EXPECT_EQ(settings_findings("\nlease: 15s\n"), List{"c.yaml:2: heartbeat: 10 s is more than half the lease "
                                                      "of 15 s; one late heartbeat must not lose the lease"});
  EXPECT_EQ(settings_findings("retry: { base: 10s, cap: 5s }\n"),
            List{"c.yaml:1: retry.base: 10 s is more than the cap of 5.0 s"});
}

TEST(Settings, PasswordsAreRefusedAndNotRepeated) {
  for (const char* document : {"database: { conninfo: \"host=h password=hunter2 dbname=d\" }\n",
                               "database: { conninfo: \"host=h password = 'hunter2'\" }\n",
                               "database: { conninfo: postgresql://u:hunter2@h/d }\n",
                               "database: { conninfo: \"postgres://h/d?user=u&password=hunter2\" }\n",
                               "database: { conninfo: \"postgres://h/d?p%61ssword=hunter2\" }\n",
                               "database: { conninfo: \"sslpassword=hunter2\" }\n"}) {
    const List found = settings_findings(document);
    ASSERT_EQ(found.size(), 1U) << document;
    EXPECT_EQ(found[0],
              "c.yaml:1: database.conninfo: holds a password; passwords do not belong in this file; put it "
              "into ~/.pgpass (or the file "
              "that $PGPASSFILE names, for example a systemd credential) and the rest into a service file");
  }
  // In other wrong places neither.
  for (const char* document : {"database: { password: hunter2 }\n", "database: \"postgresql://u:hunter2@h/d\"\n",
                               "database: host=h password=hunter2\n", "database: [ \"password=hunter2\" ]\n",
                               "workers: \"postgresql://u:hunter2@h/d\"\n"}) {
    const List found = settings_findings(document);
    ASSERT_EQ(found.size(), 1U) << document;
    EXPECT_EQ(found[0].find("hunter2"), std::string::npos) << found[0];
  }
}

TEST(Settings, ConninfoWithoutAPassword) {
  for (const char* conninfo :
       {"", "service=bqx", "host=/tmp dbname=d", "application_name='password=x'",
        "application_name='it\\'s password=x'", "application_name=a\\ password=x", "passfile=/etc/pgpass",
        "user=password", "postgresql://u@h/d", "postgresql:///d", "postgresql://h:5432/d?sslmode=require",
        "postgresql://u:@h/d", "postgresql://h/a:b@c", "host = h  port=1", "dbname", "x='"}) {
    EXPECT_FALSE(holds_password(conninfo)) << conninfo;
  }
  EXPECT_TRUE(holds_password("user=u\npassword\t=\tx"));
  EXPECT_TRUE(holds_password("a='\\'' password=x"));
}

/// Files that go away with the test.
class Files : public ::testing::Test {
 protected:
  Files() {
    root_ = std::filesystem::path(::testing::TempDir()) /
            ("regfeatd-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  ~Files() override {
    std::filesystem::remove_all(root_);
    unsetenv("REGFEATD_CONFIG");
  }

  std::string write(const std::string& name, const std::string& text) {
    const auto path = root_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path;
  }

  std::filesystem::path root_;
};

using SettingsFiles = Files;

TEST_F(SettingsFiles, LookupOrder) {
  const std::string a = write("a.yaml", "workers: 1\n"), b = write("b.yaml", "workers: 2\n");
  setenv("REGFEATD_CONFIG", b.c_str(), 1);
  EXPECT_EQ(load_settings(a).workers, 1);
  EXPECT_EQ(load_settings(a).file, a);
  EXPECT_EQ(load_settings("").workers, 2);
  setenv("REGFEATD_CONFIG", (b + ".missing").c_str(), 1);
  EXPECT_THROW((void)load_settings(""), SpecError);
  EXPECT_EQ(load_settings(a).workers, 1);
  EXPECT_THROW((void)load_settings(a + ".missing"), SpecError);
  setenv("REGFEATD_CONFIG", "", 1);
  if (!std::filesystem::exists("/etc/regfeatd/regfeatd.yaml")) {
    EXPECT_EQ(load_settings(""), Settings{});
  }
}

TEST(Settings, HttpIsOffUnlessAPortIsGivenAndStaysOnLoopback) {
  EXPECT_EQ(parse_settings("", "c.yaml").http.port, std::nullopt);
  EXPECT_EQ(parse_settings("http: { port: 9465 }\n", "c.yaml").http, (Settings::Http{"127.0.0.1", 9465, false}));
  EXPECT_EQ(parse_settings("http: { port: 0, address: \"::1\" }\n", "c.yaml").http, (Settings::Http{"::1", 0, false}));
  EXPECT_EQ(parse_settings("http: { port: 1, address: 0.0.0.0, allow_remote: true }\n", "c.yaml").http,
            (Settings::Http{"0.0.0.0", 1, true}));
  EXPECT_EQ(settings_findings("http: { address: 127.0.0.1 }\n"), List{"c.yaml:1: http: key \"port\" is missing"});
  EXPECT_EQ(settings_findings("http: { port: 70000, address: localhost, host: x }\n"),
            (List{"c.yaml:1: http: unknown key \"host\"; the keys here are \"address\", \"port\" and \"allow_remote\"",
                  "c.yaml:1: http.port: must be a whole number from 0 to 65535, not \"70000\"",
                  "c.yaml:1: http.address: must be an IP address such as 127.0.0.1 or ::1, not \"localhost\""}));
  EXPECT_EQ(settings_findings("http: { port: x }\n"),
            List{"c.yaml:1: http.port: must be a whole number from 0 to 65535, not \"x\""});
  for (const char* address : {"0.0.0.0", "10.1.2.3", "\"::\"", "\"2001:db8::1\""}) {
    const List found = settings_findings(std::string("http: { port: 1, address: ") + address + " }\n");
    ASSERT_EQ(found.size(), 1U) << address;
    EXPECT_NE(found[0].find("can be reached from other machines"), std::string::npos) << found[0];
  }
}

using Cores = Files;

TEST_F(Cores, LeastQuotaOfTheCgroupAndItsAncestors) {
  write("cpu.max", "max 100000\n");
  write("a/cpu.max", "250000 100000\n");
  write("a/b/cpu.max", "max 100000\n");
  write("a/b/c/cpu.max", "800000 100000\n");
  EXPECT_EQ(cgroup_cores(root_, "0::/a/b/c\n"), 3);
  EXPECT_EQ(cgroup_cores(root_, "0::/a\n"), 3);
  EXPECT_EQ(cgroup_cores(root_, "0::/\n"), std::nullopt);
  EXPECT_EQ(cgroup_cores(root_, "0::/missing/below\n"), std::nullopt);
  write("a/b/c/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cores(root_, "1:name=systemd:/x\n0::/a/b/c\n"), 1);
}

TEST_F(Cores, UnreadableQuotasAreNone) {
  EXPECT_EQ(cgroup_cores(root_, ""), std::nullopt);
  EXPECT_EQ(cgroup_cores(root_, "3:cpu:/a\n"), std::nullopt);
  for (const char* text : {"", "x", "100000", "100000 0", "-1 100000", "0 100000"}) {
    write("cpu.max", text);
    EXPECT_EQ(cgroup_cores(root_, "0::/\n"), std::nullopt) << text;
  }
  write("cpu.max", "9000000000000000000 1\n");
  EXPECT_GT(cgroup_cores(root_, "0::/\n"), 1000);
}

TEST(AvailableCores, AtLeastOne) {
  EXPECT_GE(available_cores(), 1);
  EXPECT_GT(automatic_workers(), available_cores());
}

}  // namespace
}  // namespace regfeatd::spec
