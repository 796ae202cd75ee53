#pragma once

#include <cstdint>
#include <pqxx/pqxx>
#include <string>

#include "regfeatd/populate/target.hpp"

namespace regfeatd::populate {

// What keeps the rows of a partition from reaching its child in one of the ways of docs/publishing.md, for people to read;
// "" where nothing does.

/// Of attaching children to a target, whichever they are.
[[nodiscard]] std::string obstacle_to_attach(const ResolvedTarget& target);
/// Of putting another table in a child's place: what would be lost, or take long under an exclusive lock.
[[nodiscard]] std::string obstacle_to_swap(pqxx::transaction_base& tx, const ResolvedTarget& target,
                                           std::uint32_t child);
/// Of TRUNCATE and COPY by the child's own name. `empty`: it holds no rows, so that nobody misses the TRUNCATE.
[[nodiscard]] std::string obstacle_to_truncate(pqxx::transaction_base& tx, std::uint32_t child, bool empty);
/// Of DELETE and COPY by a table's own name: that of a child, or of the target for all of its children.
[[nodiscard]] std::string obstacle_to_delete(pqxx::transaction_base& tx, std::uint32_t table,
                                             const std::string& order_column);

/// A publication of logical replication that passes on what is inserted into a table or into its partitions; "" when there is
/// none.
[[nodiscard]] std::string publication_of(pqxx::transaction_base& tx, std::uint32_t table);

}  // namespace regfeatd::populate
