#include "spec/yaml_reader.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "regfeatd/base/quantity.hpp"

namespace regfeatd::spec {
namespace {

std::string kind_name(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::null:
      return "nothing";
    case YamlNode::Kind::scalar:
      return "a plain value";
    case YamlNode::Kind::sequence:
      return "a list";
    case YamlNode::Kind::mapping:
      return "a mapping";
  }
  return "something else";
}

/// A connection string in the wrong place: messages do not repeat what may hold a password.
bool may_hold_secret(const std::string& text) {
  return text.find("passw") != std::string::npos || text.find("://") != std::string::npos;
}

/// Reports `must be <wanted>, not <what is there>`. Scalars are quoted.
void report_misfit(const Field& field, const std::string& wanted, Findings& findings) {
  const bool shown = field.node->kind == YamlNode::Kind::scalar && !may_hold_secret(field.node->text);
  const std::string there = shown ? quote(field.node->text) : kind_name(field.node->kind);
  findings.add(field.line(), at(field.path, "must be " + wanted + ", not " + there));
}

bool is_scalar(const Field& field, const std::string& wanted, Findings& findings) {
  if (field.node->kind == YamlNode::Kind::scalar) return true;
  report_misfit(field, wanted, findings);
  return false;
}

}  // namespace

std::string at(const std::string& path, const std::string& message) {
  return path.empty() ? message : path + ": " + message;
}

std::string under(const std::string& path, std::string_view key) {
  const bool plain = key.size() <= 63 && std::all_of(key.begin(), key.end(), [](char c) {
                       return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '"';
                     });
  const std::string name = plain ? std::string(key) : quote(key);
  return path.empty() ? name : path + "." + name;
}

std::optional<std::string> read_text(const Field& field, Findings& findings) {
  if (!is_scalar(field, "a text", findings)) return std::nullopt;
  if (field.node->text.empty()) {
    findings.add(field.line(), at(field.path, "must not be empty"));
    return std::nullopt;
  }
  return field.node->text;
}

std::optional<std::int64_t> read_integer(const Field& field, Bounds<std::int64_t> bounds, Findings& findings) {
  const std::string wanted =
      "a whole number from " + std::to_string(bounds.least) + " to " + std::to_string(bounds.most);
  if (!is_scalar(field, wanted, findings)) return std::nullopt;
  const std::string& text = field.node->text;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < bounds.least || value > bounds.most) {
    report_misfit(field, wanted, findings);
    return std::nullopt;
  }
  return value;
}

std::optional<bool> read_boolean(const Field& field, Findings& findings) {
  if (!is_scalar(field, "true or false", findings)) return std::nullopt;
  if (field.node->text == "true") return true;
  if (field.node->text == "false") return false;
  report_misfit(field, "true or false", findings);
  return std::nullopt;
}

std::optional<std::chrono::microseconds> read_duration(const Field& field, Bounds<std::chrono::microseconds> bounds,
                                                       Findings& findings) {
  const std::string form = "a duration with a unit (us, ms, s, min, h, d, w), such as 10s";
  if (!is_scalar(field, form, findings)) return std::nullopt;
  const auto value = parse_duration(field.node->text);
  if (!value) {
    report_misfit(field, form, findings);
    return std::nullopt;
  }
  if (*value < bounds.least || *value > bounds.most) {
    report_misfit(field, "from " + format_duration(bounds.least) + " to " + format_duration(bounds.most), findings);
    return std::nullopt;
  }
  return value;
}

std::optional<std::size_t> read_word(const Field& field, const std::vector<std::string>& words, Findings& findings) {
  std::string wanted;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) wanted += i + 1 == words.size() ? " or " : ", ";
    wanted += words[i];
  }
  if (!is_scalar(field, wanted, findings)) return std::nullopt;
  const auto found = std::find(words.begin(), words.end(), field.node->text);
  if (found == words.end()) {
    report_misfit(field, wanted, findings);
    return std::nullopt;
  }
  return static_cast<std::size_t>(found - words.begin());
}

std::vector<Field> read_list(const Field& field, Findings& findings) {
  if (field.node->kind != YamlNode::Kind::sequence) {
    report_misfit(field, "a list", findings);
    return {};
  }
  if (field.node->items.empty()) findings.add(field.line(), at(field.path, "the list is empty"));
  std::vector<Field> fields;
  for (const YamlNode& item : field.node->items) {
    fields.push_back({&item, field.path + "[" + std::to_string(fields.size()) + "]"});
  }
  return fields;
}

std::vector<NamedField> read_entries(const Field& field, Findings& findings) {
  if (field.node->kind != YamlNode::Kind::mapping) {
    report_misfit(field, "a mapping of names", findings);
    return {};
  }
  if (field.node->entries.empty()) findings.add(field.line(), at(field.path, "the mapping is empty"));
  std::vector<NamedField> fields;
  for (const YamlNode::Entry& entry : field.node->entries) {
    fields.push_back({entry.key, entry.line, {&entry.value, under(field.path, entry.key)}});
  }
  return fields;
}

MapReader::MapReader(Field field, std::vector<std::string> known, Findings& findings, Advice advice)
    : field_(std::move(field)), known_(std::move(known)), findings_(&findings) {
  if (!is_mapping()) {
    report_misfit(field_, "a mapping with the keys " + quoted_list(known_, known_.size()), findings);
    return;
  }
  bool keys_were_listed = false;
  for (const YamlNode::Entry& entry : field_.node->entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    std::string what = advice == nullptr ? std::string{} : advice(entry.key);
    if (what.empty()) what = did_you_mean(entry.key, known_);
    if (what.empty() && !std::exchange(keys_were_listed, true))
      what = "; the keys here are " + quoted_list(known_, known_.size());
    findings.add(entry.line, at(field_.path, "unknown key " + quote(entry.key) + what));
  }
}

bool MapReader::has(std::string_view key) const {
  return std::any_of(field_.node->entries.begin(), field_.node->entries.end(),
                     [&](const auto& e) { return e.key == key; });
}

std::optional<Field> MapReader::find(std::string_view key) const {
  for (const YamlNode::Entry& entry : field_.node->entries) {
    if (entry.key != key) continue;
    if (entry.value.kind == YamlNode::Kind::null) {
      findings_->add(entry.line, at(under(field_.path, key), "has no value"));
      return std::nullopt;
    }
    return Field{&entry.value, under(field_.path, key)};
  }
  return std::nullopt;
}

std::optional<Field> MapReader::require(std::string_view key) const {
  if (is_mapping() && !has(key)) report("key " + quote(key) + " is missing");
  return find(key);
}

void MapReader::report(const std::string& message) const { findings_->add(line(), at(field_.path, message)); }

std::optional<Field> read_document(const std::string& text, YamlNode& tree, Findings& findings) {
  auto parsed = parse_yaml(text, findings);
  if (!parsed) {
    if (findings.empty()) findings.add(0, "the document is empty");
    return std::nullopt;
  }
  tree = std::move(*parsed);
  if (tree.kind == YamlNode::Kind::null) {
    findings.add(0, "the document is empty");
    return std::nullopt;
  }
  if (tree.kind != YamlNode::Kind::mapping) {
    findings.add(tree.line, "the document must be a mapping of keys to values, not " + kind_name(tree.kind));
    return std::nullopt;
  }
  return Field{&tree, ""};
}

std::string read_file(const std::string& path) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code)) throw SpecError({path + ": is a directory, not a file"});
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) throw SpecError({path + ": cannot be opened: " + std::strerror(errno == 0 ? EIO : errno)});
  // One byte more than is allowed: parse_yaml reports the size.
  std::string text(kMaxDocumentBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) throw SpecError({path + ": cannot be read: " + std::strerror(errno == 0 ? EIO : errno)});
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

}  // namespace regfeatd::spec
