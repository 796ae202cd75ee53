#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/findings.hpp"
#include "spec/yaml_tree.hpp"

namespace regfeatd::spec {

/// A value of a document and its name in messages, for example `targets[0].table`. Borrows the tree.
struct Field {
  const YamlNode* node = nullptr;
  std::string path;

  [[nodiscard]] int line() const { return node->line; }
};

template <class T>
struct Bounds {
  T least;
  T most;
};

/// Values of a known type out of fields; every misfit becomes a finding and yields nullopt.
[[nodiscard]] std::optional<std::string> read_text(const Field& field, Findings& findings);
[[nodiscard]] std::optional<std::int64_t> read_integer(const Field& field, Bounds<std::int64_t> bounds,
                                                       Findings& findings);
[[nodiscard]] std::optional<bool> read_boolean(const Field& field, Findings& findings);
[[nodiscard]] std::optional<std::chrono::microseconds> read_duration(const Field& field,
                                                                     Bounds<std::chrono::microseconds> bounds,
                                                                     Findings& findings);
/// The index of the word among `words`.
[[nodiscard]] std::optional<std::size_t> read_word(const Field& field, const std::vector<std::string>& words,
                                                   Findings& findings);

template <class Enum>
using Words = std::vector<std::pair<std::string, Enum>>;

template <class Enum>
[[nodiscard]] std::optional<Enum> read_enum(const Field& field, const Words<Enum>& words, Findings& findings) {
  std::vector<std::string> names;
  for (const auto& [name, value] : words) names.push_back(name);
  const auto index = read_word(field, names, findings);
  return index ? std::optional{words[*index].second} : std::nullopt;
}

/// The items of a list that is not empty; anything else is a finding and gives no items.
[[nodiscard]] std::vector<Field> read_list(const Field& field, Findings& findings);

/// The entries of a mapping whose keys are names of the user's choice; anything but a mapping with entries is
/// a finding.
struct NamedField {
  std::string name;
  int line;
  Field field;
};
[[nodiscard]] std::vector<NamedField> read_entries(const Field& field, Findings& findings);

/// A mapping with a fixed set of keys. The constructor reports every key that is not among `known`.
class MapReader {
 public:
  /// `advice` is asked first for an unknown key: what it returns, if not empty, replaces the usual advice.
  using Advice = std::string (*)(std::string_view key);
  MapReader(Field field, std::vector<std::string> known, Findings& findings, Advice advice = nullptr);

  [[nodiscard]] bool is_mapping() const { return field_.node->kind == YamlNode::Kind::mapping; }
  [[nodiscard]] int line() const { return field_.line(); }
  [[nodiscard]] const std::string& path() const { return field_.path; }
  [[nodiscard]] bool has(std::string_view key) const;
  /// The value of a key, absent when the key is. A key without a value is a finding.
  [[nodiscard]] std::optional<Field> find(std::string_view key) const;
  /// The same; a missing key is a finding.
  [[nodiscard]] std::optional<Field> require(std::string_view key) const;
  /// Adds a finding about the mapping as a whole.
  void report(const std::string& message) const;

 private:
  Field field_;
  std::vector<std::string> known_;
  Findings* findings_;
};

/// `path: message`, or the message alone for the document itself.
[[nodiscard]] std::string at(const std::string& path, const std::string& message);
/// `path.key`
[[nodiscard]] std::string under(const std::string& path, std::string_view key);

/// Parses the text and returns its root as a mapping field in `tree`; nullopt when there is none (finding
/// noted).
[[nodiscard]] std::optional<Field> read_document(const std::string& text, YamlNode& tree, Findings& findings);

/// Reads a whole file. Throws SpecError when that cannot be done.
[[nodiscard]] std::string read_file(const std::string& path);

}  // namespace regfeatd::spec
