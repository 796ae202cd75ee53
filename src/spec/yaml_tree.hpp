#pragma once

#include <optional>
#include <string>
#include <vector>

#include "spec/findings.hpp"

namespace regfeatd::spec {

/// A YAML document as a plain tree. yaml-cpp's own nodes would do, but they lose duplicate keys, share nodes
/// through aliases (a few lines can stand for gigabytes) and recurse as deep as the document asks for.
struct YamlNode {
  enum class Kind { null, scalar, sequence, mapping };
  struct Entry;

  Kind kind = Kind::null;
  int line = 0;                 ///< from 1
  std::string text;             ///< scalar
  std::vector<YamlNode> items;  ///< sequence
  std::vector<Entry> entries;   ///< mapping, in the order of the document, without duplicates
};

struct YamlNode::Entry {
  std::string key;
  int line = 0;  ///< of the key
  YamlNode value;
};

inline constexpr std::size_t kMaxDocumentBytes = 1 << 20;
inline constexpr std::size_t kMaxNesting = 16;

/// Parses a document of one mapping. Findings: text that is not UTF-8 or holds control characters, syntax
/// errors (the parser stops at the first), duplicate keys, anchors, aliases, tags, several documents, too
/// much nesting. Absent when there is nothing to go on with.
[[nodiscard]] std::optional<YamlNode> parse_yaml(const std::string& text, Findings& findings);

}  // namespace regfeatd::spec
