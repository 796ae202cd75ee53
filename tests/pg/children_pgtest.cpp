// A target's partitions looked at while others of them come, are exchanged and go.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "pg_fixture.hpp"
#include "regfeatd/pg/catalog.hpp"

namespace regfeatd::test {
namespace {

TEST(Children, AreReadWhileOthersAreDroppedAndAttached) {
  const Database db;
  db.exec(
      "CREATE TABLE public.parent (position bigint NOT NULL) PARTITION BY RANGE (position);"
      "CREATE TABLE public.mine PARTITION OF public.parent FOR VALUES FROM (0) TO (10)");
  const auto parent = static_cast<std::uint32_t>(db.count("SELECT 'public.parent'::regclass::oid::bigint"));
  std::atomic<bool> over{false};
  std::vector<std::jthread> others;
  for (int n = 1; n <= 3; ++n) {
    others.emplace_back([&, n] {
      const auto session = db.session();
      while (!over) {
        pqxx::work tx(session->sql());
        tx.exec(fmt::format("CREATE TABLE public.other_{0} PARTITION OF public.parent FOR VALUES FROM ({0}0) TO ({0}9)",
                            n));
        tx.commit();
        pqxx::work drop(session->sql());
        drop.exec(fmt::format("DROP TABLE public.other_{}", n));
        drop.commit();
      }
    });
  }
  const auto session = db.session();
  pqxx::work tx(session->sql());
  for (int i = 0; i < 3000; ++i) {
    const auto children = pg::children_meeting(tx, parent, {2, 5});
    ASSERT_EQ(children.size(), 1U);
    ASSERT_EQ(children[0].name.name, "mine");
    ASSERT_EQ(children[0].bounds, (OrderRange{0, 10}));
  }
  over = true;
}

}  // namespace
}  // namespace regfeatd::test
