// `regfeatd bench`: measures, says what it measured, and leaves nothing behind. The figures themselves are
// not looked at.
#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

TEST(Bench, MeasuresEveryPathInADatabaseOfItsOwnAndLeavesNothing) {
  const Cluster cluster;  // on the one that tests share, others may be at it
  const Database db(cluster.conninfo());
  const auto session = db.session();
  pqxx::nontransaction(session->sql()).exec("CREATE DATABASE regfeatd_bench_1");  // of a run that was killed
  for (const char* publish : {"create", "swap"}) {
    const Finished f = db.regfeatd({"bench", "--partitions", "2", "--rows", "500", "--connections", "1,2", "--rounds",
                                    "1", "--publish", publish, "--paths",
                                    "bare,raw,pipeline,ahead,insert,insert-1000,raw-compact,compact,compact-real"});
    ASSERT_EQ(f.exit_status, 0) << f.out;
    for (const char* said :
         {"2 connections", "bare COPY", "pipeline / raw COPY: median", "pipeline, ahead / raw COPY: median",
          "compact real / raw COPY: median", "compact, 3 workers' time", "by CPU time",
          "1-row INSERT / raw COPY: median 0.", "1000-row INSERT / raw COPY: median 0.", "CPU client"}) {
      EXPECT_NE(f.out.find(said), std::string::npos) << said << '\n' << f.out;
    }
  }
  EXPECT_EQ(db.count("SELECT count(*) FROM pg_namespace WHERE nspname IN ('bench', 'regfeat')"), 0)
      << "the given database is not touched";
  EXPECT_EQ(db.count("SELECT count(*) FROM pg_database WHERE datname LIKE 'regfeatd_bench%'"), 0);
}

TEST(Bench, EveryWayOfPublishing) {
  const Database db;
  for (const char* publish : {"truncate", "delete"}) {
    const Finished f = db.regfeatd({"bench", "--partitions", "1", "--rows", "300", "--connections", "1", "--rounds",
                                    "2", "--publish", publish, "--paths", "raw,pipeline"});
    EXPECT_EQ(f.exit_status, 0) << f.out;
    EXPECT_NE(f.out.find(std::string("publish: ") + publish), std::string::npos) << f.out;
    EXPECT_NE(f.out.find("pipeline / raw COPY: median"), std::string::npos) << f.out;
  }
}

TEST(Bench, EveryTypeOfColumn) {
  const Database db;
  for (const char* type : {"real", "numeric"}) {
    const Finished f = db.regfeatd({"bench", "--partitions", "1", "--rows", "300", "--connections", "1", "--rounds",
                                    "1", "--columns", type, "--paths", "bare,raw,pipeline,ahead"});
    EXPECT_EQ(f.exit_status, 0) << f.out;
    EXPECT_NE(f.out.find(std::string("columns of ") + type), std::string::npos) << f.out;
  }
}

}  // namespace
}  // namespace regfeatd::test
