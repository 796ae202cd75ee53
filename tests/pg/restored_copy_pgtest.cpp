// A copy of the database on the same server, as a restore makes it: its work table names backends of the original.
#include <fmt/format.h>

#include "pg_fixture.hpp"
#include "regfeatd/pg/session.hpp"

namespace regfeatd::test {
namespace {

TEST(RestoredCopy, ItsRescueLeavesTheOriginalsBackendsAlone) {
  const Database original, copy;
  original.migrate();
  copy.migrate();
  const auto claimant = pg::Session({.conninfo = original.conninfo(), .application_name = "regfeatd/one/0"});
  const std::string call =
      fmt::format("SELECT regfeat.end_backend({}, now() + interval '1 minute')", claimant.backend_pid());
  EXPECT_EQ(copy.text(call), "f");
  EXPECT_EQ(original.text(fmt::format("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", claimant.backend_pid())),
            "1");
  EXPECT_EQ(original.text(call), "t");
}

}  // namespace
}  // namespace regfeatd::test
