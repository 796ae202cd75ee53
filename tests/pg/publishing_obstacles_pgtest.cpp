// Which way of publishing is possible with what privileges, constraints and publications are there: `plan` says it, and the run
// does it.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kChild = "bqx.reg_rate_eurusd_2024_07_01";

std::string specification(int days, const std::string& publish) {
  std::string text = bars_specification({"eurusd"}, days);
  const std::string end = "{start:%Y_%m_%d}\"";
  for (std::size_t at = 0; (at = text.find(end, at)) != std::string::npos; ++at)
    text.insert(at + end.size(), ", publish: " + publish);
  return text;
}

/// A line of a plan: how many partitions go which way, and why.
auto ways(const std::string& number, const std::string& why) { return AllOf(HasSubstr(number), HasSubstr(why)); }

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

TEST(Owners, AChildOfAnotherRoleIsNotExchangedAndKeepsItsOwner) {
  const Role owner("owner");
  {
    const Obstacles o;
    o.db.exec(fmt::format("GRANT USAGE ON SCHEMA bqx TO {0}; ALTER TABLE {1} OWNER TO {0}", owner.name, kChild));
    EXPECT_THAT(o.plan(), HasSubstr(fmt::format("it belongs to role \"{}\"", owner.name)));
    EXPECT_THAT(o.plan("swap", 78), HasSubstr(fmt::format("it belongs to role \"{}\"", owner.name)));
    const std::string child = o.child_oid();
    o.rerun();
    EXPECT_EQ(o.child_oid(), child);
    EXPECT_EQ(o.db.count(fmt::format("SET LOCAL ROLE {}; SELECT count(*) FROM {}", owner.name, kChild)),
              o.db.count(fmt::format("SELECT count(*) FROM {}", kChild)));
    o.db.exec("DROP OWNED BY " + owner.name + " CASCADE");
  }
}

TEST(Owners, AnExchangedChildHasThePrivilegesThatItHadAndNoDefaultOnes) {
  const Role reader("reader"), newcomer("newcomer");
  {
    const Obstacles o;
    o.db.exec(
        fmt::format("GRANT SELECT ON {0} TO {1} WITH GRANT OPTION; REVOKE TRUNCATE ON {0} FROM current_user; "
                    "ALTER DEFAULT PRIVILEGES IN SCHEMA bqx GRANT ALL ON TABLES TO {1}, {2}, PUBLIC",
                    kChild, reader.name, newcomer.name));
    const std::string acl = fmt::format("SELECT relacl FROM pg_class WHERE oid = '{}'::regclass", kChild);
    const std::string before = o.db.text(acl), child = o.child_oid();
    o.rerun();
    EXPECT_NE(o.child_oid(), child) << "it was not exchanged";
    EXPECT_EQ(o.db.text(acl), before);
    // A child without any grant has none afterwards either.
    EXPECT_EQ(o.db.count(fmt::format("SELECT count(*) FROM generate_series(1, 1) WHERE has_table_privilege('{}', "
                                     "'bqx.reg_rate_eurusd_2024_07_02', 'SELECT')",
                                     newcomer.name)),
              0);
    o.db.exec(fmt::format("DROP OWNED BY {}, {}", reader.name, newcomer.name));
    o.db.exec(fmt::format("ALTER DEFAULT PRIVILEGES IN SCHEMA bqx REVOKE ALL ON TABLES FROM PUBLIC"));
  }
}

TEST(Owners, RulesOfAChildKeepItFromBeingExchanged) {
  const Obstacles o;
  o.db.exec(
      fmt::format("CREATE TABLE public.heard (x int); CREATE RULE heard AS ON DELETE TO {} DO ALSO NOTHING", kChild));
  EXPECT_THAT(o.plan(), HasSubstr("it has rules of its own"));
  o.rerun();
  EXPECT_EQ(o.db.count("SELECT count(*) FROM pg_rules WHERE rulename = 'heard'"), 1);
}

TEST(Truncate, GivesWayToDeleteWhereForeignKeysReferToAnEmptyChild) {
  const Obstacles o;
  o.db.exec(
      "DELETE FROM bqx.reg_rate_eurusd; CREATE TABLE bqx.remarks (at timestamptz REFERENCES bqx.reg_rate_eurusd (ts_utc), remark text)");
  EXPECT_THAT(o.plan(), ways("2 × delete", "(it is empty, and cannot be truncated: foreign keys refer to it)"));
  EXPECT_THAT(o.plan("truncate", 78), HasSubstr("foreign keys refer to it"));
  o.rerun();
}

/// A role with what a daemon needs, that owns neither parents nor children; `granted` on the children.
class Writer {
 public:
  explicit Writer(const Obstacles& o, const Role& role) : o_(o), role_(role) {
    o.db.exec(fmt::format(
        "ALTER ROLE {0} LOGIN; GRANT regfeat_daemon TO {0}; GRANT USAGE ON SCHEMA bqx TO {0}; "
        "GRANT SELECT ON bqx.m1_eurusd, bqx.bqx_eurusd TO {0}; GRANT SELECT, INSERT ON bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd TO {0}",
        role.name));
  }
  ~Writer() { o_.db.exec("DROP OWNED BY " + role_.name); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void grant(const std::string& privileges, const std::string& tables) const {
    o_.db.exec(fmt::format("GRANT {} ON {} TO {}", privileges, tables, role_.name));
  }
  [[nodiscard]] Finished regfeatd(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--conninfo", o_.db.conninfo_as(role_.name)});
    return test::regfeatd(arguments);
  }
  [[nodiscard]] std::string plan(int exit_status, const std::string& publish = "auto", int days = 2) const {
    const TemporaryFile file("spec.yaml", specification(days, publish));
    const Finished f = regfeatd({"plan", file.path()});
    EXPECT_EQ(f.exit_status, exit_status) << f.out;
    return f.out;
  }

 private:
  const Obstacles& o_;
  const Role& role_;
};

constexpr const char* kChildren =
    "bqx.reg_rate_eurusd_2024_07_01, bqx.reg_rate_eurusd_2024_07_02, bqx.reg_bqx_eurusd_2024_07_01, bqx.reg_bqx_eurusd_2024_07_02";
constexpr const char* kParents = "bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd";

TEST(Owners, WithoutOwnershipWhatIsThereIsWrittenAndOnlyAttachingIsRefused) {
  const Role role("writer");
  {
    const Obstacles o;
    const Writer writer(o, role);
    // Nothing on the children, and no DELETE on the parents: nothing is possible, and both are named.
    const std::string nothing = writer.plan(78);
    EXPECT_THAT(nothing,
                HasSubstr("target bqx.reg_rate_eurusd: partition bqx.reg_rate_eurusd_2024_07_01 cannot be written: "
                          "there is no DELETE privilege on it; and of the parent: there is no DELETE privilege on it"));
    writer.grant("DELETE", kParents);
    EXPECT_THAT(writer.plan(0), ways("4 × delete",
                                     "(the current role may not read it; through the parent: "
                                     "there is no DELETE privilege on it)"));
    writer.grant("SELECT, INSERT, DELETE", kChildren);
    EXPECT_THAT(
        writer.plan(0),
        ways(
            "4 × delete",
            "(it holds rows, and cannot be exchanged: the current role does not own the parent, which attaching partitions needs"));
    EXPECT_THAT(writer.plan(0, "delete"), ways("4 × delete", "(publish: delete)"));
    o.db.exec("TRUNCATE bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd");
    EXPECT_THAT(writer.plan(0),
                ways("4 × delete", "(it is empty, and cannot be truncated: there is no TRUNCATE privilege on it)"));
    writer.grant("TRUNCATE", kChildren);
    EXPECT_THAT(writer.plan(0), HasSubstr("4 × truncate"));
    EXPECT_THAT(
        writer.plan(78, "auto", 3),
        HasSubstr(
            "target bqx.reg_rate_eurusd: partition bqx.reg_rate_eurusd_2024_07_03 is not there: the current role does "
            "not own the parent, which attaching partitions needs"));
  }
}

class WithoutOwnership : public ::testing::TestWithParam<const char*> {};

TEST_P(WithoutOwnership, EveryPartitionIsReplaced) {
  const Role role("replacer");
  {
    const Obstacles o;
    const Writer writer(o, role);
    if (std::string(GetParam()) == "parents") {
      writer.grant("DELETE", kParents);
    } else {
      writer.grant("SELECT, INSERT, DELETE, TRUNCATE", kChildren);
      if (std::string(GetParam()) == "truncate") o.db.exec("TRUNCATE bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd");
    }
    o.db.exec("SELECT regfeat.requeue('bars', force => true)");
    const Finished f = writer.regfeatd({"run", "--once", "--workers", "1"});
    EXPECT_EQ(f.exit_status, 0) << f.out;
    EXPECT_EQ(o.db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'done'"), 4);
    EXPECT_EQ(o.db.count("SELECT count(*) FROM bqx.reg_rate_eurusd"), o.rows());
    EXPECT_EQ(o.db.count("SELECT count(*) FROM bqx.reg_bqx_eurusd"), o.rows());
  }
}

INSTANTIATE_TEST_SUITE_P(Publishing, WithoutOwnership, ::testing::Values("parents", "children", "truncate"),
                         [](const auto& how) { return std::string(how.param) + "_"; });

}  // namespace
}  // namespace regfeatd::test
