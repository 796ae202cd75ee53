#include "spec/query.hpp"

#include <algorithm>
#include <set>

namespace regfeatd::spec {
namespace {

bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool continues_name(char c) { return starts_name(c) || (c >= '0' && c <= '9'); }

/// Walks over SQL text as PostgreSQL's lexer does, as far as needed to know what is quoted.
class QueryScanner {
 public:
  explicit QueryScanner(const std::string& query) : q_(query) {}

  void run() {
    while (pos_ < q_.size()) {
      if (skip_quoted()) continue;
      if (q_[pos_] == ';') has_semicolon_ = true;
      if (q_[pos_] != ':') {
        ++pos_;
      } else if (peek(1) == ':' || peek(1) == '=') {
        pos_ += 2;
      } else if (starts_name(peek(1))) {
        take_placeholder();
      } else {
        ++pos_;
      }
    }
    if (start_ < q_.size()) pieces_.push_back({false, q_.substr(start_)});
  }

  [[nodiscard]] std::vector<QueryPiece> take_pieces() { return std::move(pieces_); }
  [[nodiscard]] bool has_semicolon() const { return has_semicolon_; }
  [[nodiscard]] const std::string& unterminated() const { return unterminated_; }

 private:
  [[nodiscard]] char peek(std::size_t ahead) const { return pos_ + ahead < q_.size() ? q_[pos_ + ahead] : '\0'; }

  void take_placeholder() {
    if (pos_ > start_) pieces_.push_back({false, q_.substr(start_, pos_ - start_)});
    const std::size_t first = ++pos_;
    while (pos_ < q_.size() && continues_name(q_[pos_])) ++pos_;
    pieces_.push_back({true, q_.substr(first, pos_ - first)});
    start_ = pos_;
  }

  /// Moves past a quoted text, a comment or a word, if one starts here.
  bool skip_quoted() {
    const char c = q_[pos_];
    if (starts_name(c)) {
      const bool escapes = (c == 'e' || c == 'E') && peek(1) == '\'';
      if (escapes) {
        ++pos_;
        skip_string('\'', true);
      } else {
        while (pos_ < q_.size() && (continues_name(q_[pos_]) || q_[pos_] == '$')) ++pos_;
      }
      return true;
    }
    if (c == '\'' || c == '"') return skip_string(c, false);
    if (c == '-' && peek(1) == '-') {
      pos_ = std::min(q_.find('\n', pos_), q_.size());
      return true;
    }
    if (c == '/' && peek(1) == '*') return skip_comment();
    return c == '$' && skip_dollar_quote();
  }

  bool skip_string(char quote, bool backslash_escapes) {
    for (++pos_; pos_ < q_.size(); ++pos_) {
      if (backslash_escapes && q_[pos_] == '\\') {
        ++pos_;
      } else if (q_[pos_] == quote) {
        ++pos_;  // a doubled quote starts the next string at once: the same effect
        return true;
      }
    }
    pos_ = q_.size();
    unterminated_ = std::string("a quote (") + quote + ")";
    return true;
  }

  bool skip_comment() {
    int depth = 0;
    while (pos_ < q_.size()) {
      if (q_[pos_] == '/' && peek(1) == '*') {
        ++depth;
        pos_ += 2;
      } else if (q_[pos_] == '*' && peek(1) == '/') {
        pos_ += 2;
        if (--depth == 0) return true;
      } else {
        ++pos_;
      }
    }
    unterminated_ = "a comment (/*)";
    return true;
  }

  bool skip_dollar_quote() {
    std::size_t end = pos_ + 1;
    if (end < q_.size() && starts_name(q_[end])) {
      while (end < q_.size() && continues_name(q_[end])) ++end;
    }
    if (end >= q_.size() || q_[end] != '$') return false;
    const std::string tag = q_.substr(pos_, end - pos_ + 1);
    const std::size_t close = q_.find(tag, end + 1);
    if (close == std::string::npos) unterminated_ = "a quote (" + tag + ")";
    pos_ = close == std::string::npos ? q_.size() : close + tag.size();
    return true;
  }

  const std::string& q_;
  std::size_t pos_ = 0;
  std::size_t start_ = 0;  ///< of the literal piece in hand
  std::vector<QueryPiece> pieces_;
  bool has_semicolon_ = false;
  std::string unterminated_;
};

std::string with_colons(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? ":" : ", :") + name;
  return out;
}

}  // namespace

std::vector<QueryPiece> split_query(const std::string& query) {
  QueryScanner scanner(query);
  scanner.run();
  return scanner.take_pieces();
}

void check_query(const std::string& query, const std::vector<std::string>& known,
                 const std::vector<std::string>& required, int line, const std::string& path, Findings& findings) {
  QueryScanner scanner(query);
  scanner.run();
  if (scanner.has_semicolon()) findings.add(line, at(path, "must be one SELECT without a semicolon"));
  if (!scanner.unterminated().empty()) findings.add(line, at(path, scanner.unterminated() + " is not closed"));
  std::set<std::string> used;
  for (const QueryPiece& piece : scanner.take_pieces()) {
    if (!piece.is_placeholder || !used.insert(piece.text).second) continue;
    if (std::find(known.begin(), known.end(), piece.text) != known.end()) continue;
    const std::string has = known.empty() ? "there are none here" : "there are " + with_colons(known);
    findings.add(line, at(path, "unknown placeholder " + quote(":" + piece.text) + "; " + has +
                                    " (a colon that is none needs a space behind it)"));
  }
  for (const std::string& name : required) {
    if (!used.contains(name)) findings.add(line, at(path, "placeholder :" + name + " is missing"));
  }
}

}  // namespace regfeatd::spec
