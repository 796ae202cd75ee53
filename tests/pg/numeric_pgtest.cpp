// Numerics as the client reads them, against the server's own cast.
#include <bit>
#include <cmath>

#include "pg_fixture.hpp"
#include "regfeatd/pg/copy.hpp"

namespace regfeatd::test {
namespace {

TEST(NumericInput, HasTheBitsOfTheServersCast) {
  const Database db;
  const auto session = db.session();
  pqxx::work tx(session->sql());
  tx.exec("SELECT setseed(0.5)");
  pg::CopyOut copy(*session,
                   "SELECT n, n::double precision FROM (SELECT (CASE WHEN i % 2 = 0 THEN 1 ELSE -1 END) "
                   "  * round((random() * power(10::numeric, i % 37 - 12))::numeric + random()::numeric / 3, "
                   "i % 31) AS n FROM generate_series(1, 60000) i "
                   "  UNION ALL SELECT NULL UNION ALL SELECT 'NaN' UNION ALL SELECT 'Infinity' UNION ALL "
                   "SELECT 0.1::numeric + 1e-30::numeric "
                   "  UNION ALL SELECT repeat('123456789', 40)::numeric / power(10::numeric, 200) UNION ALL "
                   "SELECT 9007199254740993) s",
                   2);
  int rows = 0;
  for (; copy.next(); ++rows) {
    const double ours = copy.numeric(0), servers = copy.float64(1);
    if (std::isnan(servers)) {
      ASSERT_TRUE(std::isnan(ours));
    } else {
      ASSERT_EQ(std::bit_cast<std::uint64_t>(ours), std::bit_cast<std::uint64_t>(servers)) << servers;
    }
  }
  EXPECT_EQ(rows, 60'006);
}

TEST(NumericOutput, AnOverflowIsLoggedWithItsTableAndColumn) {
  const Database db;
  db.migrate();
  db.exec(
      "CREATE TABLE public.x (n int PRIMARY KEY, v double precision);"
      "INSERT INTO public.x SELECT i, 100 * sin(i) FROM generate_series(1, 50) i;"
      "CREATE TABLE public.features (n int PRIMARY KEY, narrow_prediction numeric(3, 2), narrow_rmse numeric)");
  const TemporaryFile file("spec.yaml", R"(feature_set: narrow
series: [x]
partition: { by: 100, from: 0, to: 100 }
source: { tables: [ { table: "public.{series}", sequence: n } ] }
inputs: { v: { column: v } }
windows: { w5: 5 }
metrics: [ coefficients.prediction, coefficients.rmse ]
targets: [ { input: v, table: public.features, sequence: n, column: "narrow_{metric}" } ]
)");
  const Finished applied = db.regfeatd({"apply", file.path()});
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  const TemporaryFile config("regfeatd.yaml", "retry: { attempts: 1 }\n");
  const Finished f = db.regfeatd({"run", "--once", "--config", config.path()});
  EXPECT_EQ(f.exit_status, 1);
  EXPECT_NE(f.out.find("sqlstate=22003"), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("context=\"COPY features, line 5, column narrow_prediction; statement: COPY "),
            std::string::npos)
      << f.out;
}

}  // namespace
}  // namespace regfeatd::test
