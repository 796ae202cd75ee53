#include "spec/yaml_tree.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <sstream>
#include <unordered_map>

namespace regfeatd::spec {
namespace {

/// Ends a parse from inside the event handler; the finding has been noted.
struct Stop {};

/// Length of the UTF-8 character at `pos`, 0 when there is none (overlong forms, surrogates and values above
/// U+10FFFF included).
std::size_t utf8_length(std::string_view text, std::size_t pos) {
  const auto byte = [&](std::size_t i) -> unsigned {
    return pos + i < text.size() ? static_cast<unsigned char>(text[pos + i]) : 0U;
  };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned b = byte(0);
  if (b < 0x80) return 1;
  if (b >= 0xC2 && b <= 0xDF) return follows(1) ? 2 : 0;
  if (b >= 0xE0 && b <= 0xEF) {
    if (!follows(1) || !follows(2)) return 0;
    if ((b == 0xE0 && byte(1) < 0xA0) || (b == 0xED && byte(1) > 0x9F)) return 0;
    return 3;
  }
  if (b >= 0xF0 && b <= 0xF4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if ((b == 0xF0 && byte(1) < 0x90) || (b == 0xF4 && byte(1) > 0x8F)) return 0;
    return 4;
  }
  return 0;
}

/// yaml-cpp guesses at encodings and takes any byte; here a document is UTF-8 without control characters.
bool check_text(const std::string& text, Findings& findings) {
  if (text.size() > kMaxDocumentBytes) {
    findings.add(0, "the document has " + std::to_string(text.size()) + " bytes; at most " +
                        std::to_string(kMaxDocumentBytes) + " are read");
    return false;
  }
  int line = 1;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
      findings.add(line, "the text holds a control character; save the document as plain UTF-8 text");
      return false;
    }
    const std::size_t length = utf8_length(text, i);
    if (length == 0) {
      findings.add(line, "the text is not UTF-8; save the document as plain UTF-8 text");
      return false;
    }
    if (c == '\n') ++line;
    i += length;
  }
  return true;
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(Findings& findings) : findings_(findings) {}

  [[nodiscard]] std::optional<YamlNode> take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) {
      findings_.add(mark.line + 1, "a second document starts here; write one document in a file");
      throw Stop{};
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check_plain(mark, {}, anchor);
    place(make(YamlNode::Kind::null, mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    findings_.add(mark.line + 1, "aliases (*name) are not supported; write the value out");
    throw Stop{};
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_plain(mark, tag, anchor);
    if (awaits_key()) {
      open_.back().key = value;
      open_.back().key_line = mark.line + 1;
      return;
    }
    YamlNode node = make(YamlNode::Kind::scalar, mark);
    node.text = value;
    place(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::mapping, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  /// A mapping or sequence that has begun and not ended.
  struct Open {
    YamlNode node;
    std::optional<std::string> key = std::nullopt;  ///< mapping: the key whose value comes next
    int key_line = 0;
    std::unordered_map<std::string, int> lines = {};  ///< mapping: where each key stands
  };

  static YamlNode make(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    return node;
  }

  void check_plain(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) findings_.add(mark.line + 1, "anchors (&name) are not supported; leave it out");
    if (!tag.empty() && tag != "?" && tag != "!")
      findings_.add(mark.line + 1, "tags (" + quote(tag) + ") are not supported; leave it out");
  }

  [[nodiscard]] bool awaits_key() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::mapping && !open_.back().key;
  }

  void require_scalar_key(int line) {
    if (!awaits_key()) return;
    findings_.add(line, "a key must be a plain name, not empty, a list or a mapping");
    throw Stop{};
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    check_plain(mark, tag, anchor);
    require_scalar_key(mark.line + 1);
    if (open_.size() >= kMaxNesting) {
      findings_.add(mark.line + 1, "the document is nested more than " + std::to_string(kMaxNesting) + " levels deep");
      throw Stop{};
    }
    open_.push_back({make(kind, mark)});
  }

  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    place(std::move(node));
  }

  void place(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    require_scalar_key(node.line);
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::sequence) {
      parent.node.items.push_back(std::move(node));
      return;
    }
    if (node.kind == YamlNode::Kind::null) node.line = parent.key_line;  // yaml-cpp gives the line of what follows
    add_entry(parent, std::move(node));
    parent.key.reset();
  }

  void add_entry(Open& parent, YamlNode value) {
    const auto [first, is_new] = parent.lines.emplace(*parent.key, parent.key_line);
    if (!is_new) {
      findings_.add(parent.key_line, "key " + quote(*parent.key) + " is given twice; it stands on line " +
                                         std::to_string(first->second) + " already");
      return;
    }
    parent.node.entries.push_back({std::move(*parent.key), parent.key_line, std::move(value)});
  }

  Findings& findings_;
  std::optional<YamlNode> root_;
  std::vector<Open> open_;
  int documents_ = 0;
};

/// Runs yaml-cpp over the text; false when it stopped with a finding.
bool run_parser(const std::string& text, TreeBuilder& builder, Findings& findings) {
  try {
    std::istringstream in(text);
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
    return true;
  } catch (const Stop&) {
  } catch (const YAML::Exception& e) {
    findings.add(e.mark.is_null() ? 0 : e.mark.line + 1, "not valid YAML: " + e.msg);
  } catch (const std::exception& e) {
    findings.add(0, std::string("not valid YAML: ") + e.what());
  }
  return false;
}

}  // namespace

std::optional<YamlNode> parse_yaml(const std::string& text, Findings& findings) {
  if (!check_text(text, findings)) return std::nullopt;
  TreeBuilder builder(findings);
  if (!run_parser(text, builder, findings)) return std::nullopt;
  return builder.take();
}

}  // namespace regfeatd::spec
