#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::spec {

/// PostgreSQL cuts longer names silently; here they are refused.
inline constexpr std::size_t kMaxNameBytes = 63;

/// A name with placeholders: `{name}` or `{name:format}`; `{{` and `}}` stand for braces.
class NameTemplate {
 public:
  struct Part {
    bool is_placeholder = false;
    std::string text;    ///< the literal, or the placeholder's name
    std::string format;  ///< after the colon
  };

  /// Throws SpecError with every fault of the template: unbalanced braces, placeholders not among `known`
  /// (with what is), formats where none is taken or with conversions other than %Y %m %d %H %M %V %G %j %%.
  NameTemplate(std::string_view text, const std::vector<std::string>& known);

  [[nodiscard]] bool uses(std::string_view placeholder) const;
  /// `value` gives the text of a placeholder. What it returns is not searched for placeholders again.
  [[nodiscard]] std::string expand(const std::function<std::string(const Part&)>& value) const;

 private:
  std::vector<Part> parts_;
};

/// The placeholders of each kind of template.
[[nodiscard]] const std::vector<std::string>& table_placeholders();
[[nodiscard]] const std::vector<std::string>& column_placeholders();
[[nodiscard]] const std::vector<std::string>& partition_placeholders();

/// The template of the table that a target writes: see `written_table`.
[[nodiscard]] std::string written_template(const FeatureSet& fs, const Target& target);

/// `format` applied to a time: %Y %m %d %H %M, ISO year %G and week %V, day of the year %j, %%.
[[nodiscard]] std::string format_start(std::string_view format, OrderValue t);

/// `schema.table`, split at the first dot; the schema may be absent.
struct TableName {
  std::string schema;
  std::string table;
};
[[nodiscard]] TableName split_table(const std::string& name);

/// Why PostgreSQL would not take the name as it stands: empty, too long, control characters. Empty text: it
/// would.
[[nodiscard]] std::string name_fault(std::string_view name);
/// The same for `schema.table`.
[[nodiscard]] std::string table_name_fault(const std::string& name);

/// A template prepared for the many names that are made from it.
class PartitionNamer {
 public:
  PartitionNamer(const FeatureSet& fs, const Target& target);
  /// The child's name without its schema. Not checked for length.
  [[nodiscard]] std::string child(const std::string& bare_table, const std::string& series, OrderRange range) const;

 private:
  NameTemplate template_;
  OrderKind order_;
  PartitionUnit unit_;
};

}  // namespace regfeatd::spec
