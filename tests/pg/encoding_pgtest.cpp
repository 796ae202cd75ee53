// What the program writes and reads in binary, against the server's own text of the same values.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "pg_fixture.hpp"
#include "regfeatd/pg/copy.hpp"
#include "regfeatd/pg/field_text.hpp"
#include "regfeatd/pg/tuple_encoder.hpp"

namespace regfeatd::test {
namespace {

/// Finite doubles of all magnitudes: random bits, powers of ten and their neighbours, the ends of the range, prices.
std::vector<double> doubles() {
  std::vector<double> all{0.0,
                          -0.0,
                          1,
                          -1,
                          0.1,
                          10000,
                          9999,
                          99990000,
                          1e-4,
                          1e-5,
                          123456789012345680.0,
                          std::numeric_limits<double>::max(),
                          std::numeric_limits<double>::min(),
                          std::numeric_limits<double>::denorm_min(),
                          5e-324,
                          -2.5e-310};
  for (int e = -308; e <= 308; ++e) {
    const double power = std::pow(10.0, e);
    for (const double v : {power, std::nextafter(power, 0.0), std::nextafter(power, 1e308), 3 * power / 7})
      all.push_back(std::isfinite(v) ? v : 1);
  }
  std::mt19937_64 random{11};
  while (all.size() < 30'000) {
    const double v = std::bit_cast<double>(random());
    if (std::isfinite(v)) all.push_back(v);
    all.push_back(static_cast<double>(static_cast<std::int64_t>(random() % 2'000'000) - 1'000'000) / 1e5);
    all.push_back(std::ldexp(1 + static_cast<double>(random() % 1000) / 1000, static_cast<int>(random() % 80) - 40));
  }
  return all;
}

TEST(Encoding, NumericIsTheServersTextOfTheDouble) {
  const Database db;
  db.exec("CREATE TABLE v (i bigint, d double precision, n numeric, r real)");
  const std::vector<double> values = doubles();
  const auto session = db.session();
  pqxx::work tx(session->sql());
  constexpr std::size_t kBlock = 1000;
  pg::TupleEncoder encoder(
      {pg::OrderType::int8, 0, {pg::FeatureType::float8, pg::FeatureType::numeric, pg::FeatureType::float4}}, kBlock);
  {
    pg::CopyIn copy(*session, "COPY v (i, d, n, r) FROM STDIN (FORMAT binary)");
    for (std::size_t at = 0; at < values.size(); at += kBlock) {
      const std::size_t rows = std::min(kBlock, values.size() - at);
      std::vector<OrderValue> order(rows);
      for (std::size_t r = 0; r < rows; ++r) order[r] = static_cast<OrderValue>(at + r);
      const double* const columns[] = {values.data() + at, values.data() + at, values.data() + at};
      copy.send(encoder.encode(order, {}, columns));
    }
    EXPECT_EQ(copy.finish(), static_cast<std::int64_t>(values.size()));
  }
  tx.commit();
  // Back to the same double; the same number and text (the display scale counts) as the server's, or a shorter one: the server
  // writes 1e23, which lies just between two doubles, as 9.999999999999999e22.
  EXPECT_EQ(db.text("SELECT min(i || ': ' || d || ' became ' || n) FROM v WHERE n::float8 <> d"), "");
  EXPECT_EQ(
      db.text(
          "SELECT min(i || ': ' || d || ' became ' || n) FROM v WHERE n::text <> trim_scale(d::text::numeric)::text "
          "   AND length(trim('0' FROM replace(n::text, '.', ''))) >= length(trim('0' FROM replace((d::text::numeric)::text, '.', '')))"),
      "");
  EXPECT_LT(db.count("SELECT count(*) FROM v WHERE n <> d::text::numeric"), 10);
  // real: rounded to nearest; what is too large for it is NULL.
  EXPECT_EQ(db.count("SELECT count(*) FROM v WHERE abs(d) < 3e38 AND abs(d) > 1e-37 AND r IS DISTINCT FROM d::real"),
            0);
  EXPECT_EQ(db.count("SELECT count(*) FROM v WHERE abs(d) > 3.5e38 AND r IS NOT NULL"), 0);
}

TEST(Encoding, KeysInWordsAreTheServersText) {
  const Database db;
  const auto session = db.session();
  pqxx::work tx(session->sql());
  tx.exec("SET LOCAL TimeZone = 'UTC'");
  const std::vector<std::pair<std::string, std::string>> cases{{"integer", "808464432"},
                                                               {"integer", "-7"},
                                                               {"bigint", "9223372036854775807"},
                                                               {"smallint", "-32768"},
                                                               {"text", "O'Brien, é"},
                                                               {"character varying(9)", "x"},
                                                               {"character(3)", "ab "},
                                                               {"boolean", "t"},
                                                               {"uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
                                                               {"date", "2018-12-24"},
                                                               {"bytea", "\\x00ff20"},
                                                               {"numeric", "0"},
                                                               {"numeric", "-12345.0006"},
                                                               {"numeric(12,3)", "10000.100"},
                                                               {"numeric", "0.00001234"},
                                                               {"numeric", "100000000"},
                                                               {"numeric", "1e-20"},
                                                               {"numeric", "NaN"},
                                                               {"numeric", "123456789012345678901234567890.5"}};
  for (const auto& [type, value] : cases) {
    const std::string expected = tx.exec1("SELECT (" + tx.quote(value) + "::" + type + ")::text")[0].as<std::string>();
    pg::CopyOut copy(*session, "SELECT " + tx.quote(value) + "::" + type, 1);
    ASSERT_TRUE(copy.next());
    // character(n)::text cuts the blanks that belong to the value.
    EXPECT_EQ(pg::field_text(*copy.field(0), type), type == "character(3)" ? value : expected) << type << ' ' << value;
    EXPECT_FALSE(copy.next());
  }
  pg::CopyOut copy(*session, "SELECT timestamptz '2020-09-12 11:30:00+00'", 1);
  ASSERT_TRUE(copy.next());
  EXPECT_EQ(pg::field_text(*copy.field(0), "timestamp with time zone"), "2020-09-12 11:30:00+00");
}

}  // namespace
}  // namespace regfeatd::test
