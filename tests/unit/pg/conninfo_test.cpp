#include "pg/conninfo.hpp"

#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::pg {
namespace {

using Settings = std::map<std::string, std::string>;

/// What a connection made with our completed string would use, as libpq tells; nothing is connected to.
Settings effective(const std::string& conninfo) {
  const std::string complete =
      complete_conninfo({.conninfo = conninfo, .application_name = "regfeatd/test"}, {}) + "host=none port='1,2'";
  const std::unique_ptr<PGconn, decltype(&PQfinish)> conn(PQconnectStart(complete.c_str()), &PQfinish);
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> all(PQconninfo(conn.get()), &PQconninfoFree);
  Settings settings;
  for (const PQconninfoOption* o = all.get(); o->keyword != nullptr; ++o)
    if (o->val != nullptr) settings[o->keyword] = o->val;
  return settings;
}

class ConnInfo : public testing::Test {
 protected:
  ConnInfo() {
    for (const char* name : kVariables) unsetenv(name);
    set_environment_defaults();
    std::ofstream(file_) << "[silent]\ndbname=bqx\n"
                            "[all]\ndbname=bqx\ntarget_session_attrs=any\nconnect_timeout=3\nkeepalives=0\n"
                            "keepalives_idle=31\nkeepalives_interval=32\nkeepalives_count=33\ntcp_user_timeout=34\n";
    setenv("PGSERVICEFILE", file_.c_str(), 1);
  }
  ~ConnInfo() override {
    for (const char* name : kVariables) unsetenv(name);
    std::filesystem::remove(file_);
  }

  static constexpr const char* kVariables[] = {"PGSERVICE", "PGSERVICEFILE", "PGCONNECT_TIMEOUT",
                                               "PGTARGETSESSIONATTRS"};
  const std::string file_ = testing::TempDir() + "service." + std::to_string(getpid());
  const Settings ours_{{"target_session_attrs", "read-write"},
                       {"connect_timeout", "10"},
                       {"keepalives", "1"},
                       {"keepalives_idle", "30"},
                       {"keepalives_interval", "10"},
                       {"keepalives_count", "3"},
                       {"tcp_user_timeout", "60000"}};
  const Settings theirs_{{"target_session_attrs", "any"}, {"connect_timeout", "3"},      {"keepalives", "0"},
                         {"keepalives_idle", "31"},       {"keepalives_interval", "32"}, {"keepalives_count", "33"},
                         {"tcp_user_timeout", "34"}};

  static void expect(const Settings& wanted, const Settings& actual) {
    for (const auto& [name, value] : wanted)
      EXPECT_EQ(actual.contains(name) ? actual.at(name) : "(not set)", value) << name;
  }
};

TEST_F(ConnInfo, OurDefaultsStandWhereNothingElseDoes) {
  for (const char* conninfo : {"", "dbname=bqx", "postgresql:///bqx", "service=silent"}) {
    SCOPED_TRACE(conninfo);
    expect(ours_, effective(conninfo));
  }
  EXPECT_EQ(effective("service=silent").at("dbname"), "bqx");
}

TEST_F(ConnInfo, AServiceFileGoesBeforeOurDefaults) {
  expect(theirs_, effective("service=all"));
  expect(theirs_, effective("postgresql:///?service=all"));
  setenv("PGSERVICE", "all", 1);
  expect(theirs_, effective(""));
  expect(theirs_, effective("user=somebody"));
}

TEST_F(ConnInfo, TheStringGoesBeforeTheServiceFile) {
  const Settings actual = effective("service=all target_session_attrs=primary tcp_user_timeout=5 connect_timeout=4");
  expect({{"target_session_attrs", "primary"}, {"tcp_user_timeout", "5"}, {"connect_timeout", "4"}}, actual);
  expect({{"keepalives_idle", "31"}, {"application_name", "regfeatd/test"}}, actual);
}

TEST_F(ConnInfo, VariablesOfTheEnvironmentStayAsTheyAre) {
  setenv("PGCONNECT_TIMEOUT", "7", 1);
  setenv("PGTARGETSESSIONATTRS", "standby", 1);
  set_environment_defaults();
  expect({{"connect_timeout", "7"}, {"target_session_attrs", "standby"}}, effective("service=silent"));
  expect(theirs_, effective("service=all"));
}

TEST_F(ConnInfo, AServiceThatIsMissingIsLeftForLibpqToSay) {
  EXPECT_NE(complete_conninfo({.conninfo = "service=none", .application_name = "x"}, {}).find("service='none'"),
            std::string::npos);
}

TEST_F(ConnInfo, AStringThatCannotBeReadIsNotQuoted) {
  try {
    (void)complete_conninfo({.conninfo = "password='hunter2", .application_name = "x"}, {});
    FAIL() << "it was read";
  } catch (const Fault& e) {
    EXPECT_EQ(e.fault_class(), FaultClass::configuration);
    EXPECT_EQ(std::string(e.what()).find("hunter2"), std::string::npos);
  }
}

}  // namespace
}  // namespace regfeatd::pg
