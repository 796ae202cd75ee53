#include "spec/conninfo.hpp"

namespace regfeatd::spec {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_secret(std::string_view keyword) { return keyword == "password" || keyword == "sslpassword"; }

/// `keyword = value` pairs; values may stand in single quotes, with backslash escapes.
bool keywords_hold_password(std::string_view text) {
  std::size_t pos = 0;
  const auto skip_spaces = [&] {
    while (pos < text.size() && is_space(text[pos])) ++pos;
  };
  while (true) {
    skip_spaces();
    if (pos == text.size()) return false;
    const std::size_t first = pos;
    while (pos < text.size() && text[pos] != '=' && !is_space(text[pos])) ++pos;
    if (is_secret(text.substr(first, pos - first))) return true;
    skip_spaces();
    if (pos < text.size() && text[pos] == '=') ++pos;
    skip_spaces();
    const bool in_quotes = pos < text.size() && text[pos] == '\'';
    if (in_quotes) ++pos;
    while (pos < text.size() && (in_quotes ? text[pos] != '\'' : !is_space(text[pos])))
      pos += text[pos] == '\\' ? 2 : 1;
    if (pos >= text.size()) return false;
    if (in_quotes) ++pos;
  }
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// `//user:password@host/database?keyword=value&...`, without the scheme.
bool uri_holds_password(std::string_view rest) {
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  const std::size_t at = authority.find('@');
  if (at != std::string_view::npos) {
    const std::size_t colon = authority.substr(0, at).find(':');
    if (colon != std::string_view::npos && colon + 1 < at) return true;
  }
  std::size_t pos = rest.find('?');
  while (pos != std::string_view::npos) {
    const std::string_view pair = rest.substr(pos + 1, rest.find('&', pos + 1) - pos - 1);
    if (is_secret(percent_decoded(pair.substr(0, pair.find('='))))) return true;
    pos = rest.find('&', pos + 1);
  }
  return false;
}

}  // namespace

bool holds_password(std::string_view conninfo) {
  for (const std::string_view scheme : {"postgresql://", "postgres://"}) {
    if (conninfo.starts_with(scheme)) return uri_holds_password(conninfo.substr(scheme.size()));
  }
  return keywords_hold_password(conninfo);
}

}  // namespace regfeatd::spec
