// A role that lacks a privilege: reported as a mistake of the configuration, with all others, never retried
// as a disturbance.
#include <fmt/format.h>
#include <unistd.h>

#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

/// A login role of the daemon's group, dropped with what it was granted.
class Role {
 public:
  explicit Role(const Database& db) : db_(db), name_(fmt::format("regfeat_test_weak_{}", getpid())) {
    db_.exec("CREATE ROLE " + name_ + " LOGIN IN ROLE regfeat_daemon; GRANT USAGE ON SCHEMA bqx TO " + name_);
  }
  ~Role() { db_.exec("DROP OWNED BY " + name_ + "; DROP ROLE " + name_); }
  Role(const Role&) = delete;
  Role& operator=(const Role&) = delete;
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] Finished regfeatd(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--conninfo", db_.conninfo_as(name_)});
    return test::regfeatd(arguments);
  }

 private:
  const Database& db_;
  std::string name_;
};

TEST(Privileges, PlanNamesAllThatAreMissingThoughPartitionsHoldRows) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 2);
  const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 2));
  ASSERT_EQ(db.regfeatd({"apply", file.path()}).exit_status, 0);
  ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
  const Role weak(db);
  const Finished plan = weak.regfeatd({"plan", file.path()});
  EXPECT_EQ(plan.exit_status, 78) << plan.out;
  for (const char* named : {"m1_eurusd", "bqx_eurusd", "reg_rate_eurusd", "reg_bqx_eurusd"})
    EXPECT_NE(plan.out.find(named), std::string::npos) << named << '\n' << plan.out;
}

TEST(Privileges, ADaemonOutsideOfItsGroupEndsWith78) {
  const Database db;
  db.migrate();
  db.exec("CREATE SCHEMA bqx");
  const Role weak(db);
  db.exec("REVOKE regfeat_daemon FROM " + weak.name() + "; GRANT regfeat_reader TO " + weak.name());
  const Finished run = weak.regfeatd({"run", "--once"});
  EXPECT_EQ(run.exit_status, 78) << run.out;
  EXPECT_NE(run.out.find("permission denied for table daemon"), std::string::npos) << run.out;
}

}  // namespace
}  // namespace regfeatd::test
