// Which way of publishing is possible with what privileges, constraints and publications are there: `plan` says it, and the run
// does it.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kChild = "bqx.reg_rate_eurusd_2024_07_01";

std::string specification(int days, const std::string& publish) {
  std::string text = bars_specification({"eurusd"}, days);
  const std::string end = "{start:%Y_%m_%d}\"";
  for (std::size_t at = 0; (at = text.find(end, at)) != std::string::npos; ++at)
    text.insert(at + end.size(), ", publish: " + publish);
  return text;
}

/// Two days of a pair, loaded and done.
class Obstacles {
 public:
  explicit Obstacles(const std::string& conninfo = "") : db(conninfo.empty() ? Database() : Database(conninfo)) {
    db.migrate();
    db.make_bars("eurusd", 2);
    apply();
    run();
  }

  [[nodiscard]] std::string plan(const std::string& publish = "auto", int exit_status = 0) const {
    const TemporaryFile file("spec.yaml", specification(2, publish));
    const Finished f = db.regfeatd({"plan", file.path()});
    EXPECT_EQ(f.exit_status, exit_status) << f.out;
    return f.out;
  }
  void apply(const std::string& publish = "auto") const {
    const TemporaryFile file("spec.yaml", specification(2, publish));
    const Finished f = db.regfeatd({"apply", file.path()});
    ASSERT_EQ(f.exit_status, 0) << f.out;
  }
  void run() const {
    const Finished f = db.regfeatd({"run", "--once", "--workers", "2"});
    EXPECT_EQ(f.exit_status, 0) << f.out;
    EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 2);
    EXPECT_EQ(db.count("SELECT count(*) FROM bqx.reg_rate_eurusd"), rows());
    EXPECT_EQ(db.count("SELECT count(*) FROM bqx.reg_bqx_eurusd"), rows());
  }
  /// All partitions once more.
  void rerun() const {
    db.exec("SELECT regfeat.requeue('bars', force => true)");
    run();
  }
  [[nodiscard]] std::int64_t rows() const { return db.count("SELECT count(*) FROM bqx.m1_eurusd"); }
  [[nodiscard]] std::string child_oid() const { return db.text(fmt::format("SELECT '{}'::regclass::oid", kChild)); }

  Database db;
};

/// A role of the cluster, gone with the test; before the database, so that it goes after it.
class Role {
 public:
  explicit Role(const std::string& suffix) : name(fmt::format("regfeatd_test_{}_{}", suffix, getpid())) {
    admin_.exec("CREATE ROLE " + name);
  }
  ~Role() { admin_.exec("DROP ROLE " + name); }
  Role(const Role&) = delete;
  Role& operator=(const Role&) = delete;
  const std::string name;

 private:
  Database admin_;
};

TEST(Replicated, EveryRowOfAPublishedTargetReachesTheSlot) {
  const Cluster cluster({"--set", "wal_level=logical", "--set", "max_replication_slots=4"});
  for (const std::string publication :
       {"FOR TABLE bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd WITH (publish_via_partition_root)",
        "FOR TABLE bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd", "FOR ALL TABLES", "FOR TABLES IN SCHEMA bqx"}) {
    const Obstacles o(cluster.conninfo());
    if (publication.find("SCHEMA") != std::string::npos && o.db.count("SHOW server_version_num") < 150000) continue;
    o.db.exec("CREATE PUBLICATION p " + publication);
    {
      const auto session = o.db.session();
      pqxx::nontransaction tx(session->sql());
      tx.exec("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')");
    }
    // One partition is there and is replaced, one is created.
    o.db.exec("DROP TABLE bqx.reg_rate_eurusd_2024_07_02, bqx.reg_bqx_eurusd_2024_07_02");
    EXPECT_THAT(o.plan(), HasSubstr("publication \"p\" covers it"));
    EXPECT_THAT(o.plan("swap", 78), HasSubstr("publication \"p\" covers it, and replication misses"));
    o.rerun();
    // Of what the slot would send, the rows that are inserted, by the table they are said to belong to (R: relation, I: insert).
    o.db.exec(
        "CREATE TABLE public.sent AS SELECT chr(get_byte(data, 0)) AS kind, CASE WHEN chr(get_byte(data, 0)) IN ('R', 'I') THEN "
        "  (get_byte(data, 1)::bigint << 24) + (get_byte(data, 2) << 16) + (get_byte(data, 3) << 8) + get_byte(data, 4) END AS oid "
        "FROM pg_logical_slot_peek_binary_changes('slot', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')");
    for (const std::string parent : {"bqx.reg_rate_eurusd", "bqx.reg_bqx_eurusd"}) {
      EXPECT_EQ(o.db.count(fmt::format("SELECT count(*) FROM public.sent WHERE kind = 'I' AND oid IN "
                                       "(SELECT relid::oid::bigint FROM pg_partition_tree('{}'))",
                                       parent)),
                o.rows())
          << publication << ": " << parent;
    }
    const auto session = o.db.session();
    pqxx::nontransaction tx(session->sql());
    tx.exec("SELECT pg_drop_replication_slot('slot')");
  }
}

TEST(Replicated, ATruncateThatSubscribersWouldNotSeeIsRefused) {
  const Obstacles o;
  o.db.exec("CREATE PUBLICATION p FOR TABLE bqx.reg_rate_eurusd WITH (publish_via_partition_root)");
  EXPECT_THAT(o.plan("truncate", 78), HasSubstr("publication \"p\" does not pass on a TRUNCATE of a partition"));
  o.db.exec("TRUNCATE bqx.reg_rate_eurusd");
  EXPECT_THAT(o.plan("truncate"), HasSubstr("4 × truncate"));
  o.db.exec("DROP PUBLICATION p; CREATE PUBLICATION p FOR TABLE bqx.reg_bqx_eurusd");
  EXPECT_THAT(o.plan("truncate"), HasSubstr("4 × truncate"));
}

}  // namespace
}  // namespace regfeatd::test
