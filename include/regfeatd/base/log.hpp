#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace regfeatd::log {

enum class Level { debug, info, warning, error };
enum class Format { text, json };

/// A named value that goes with a message: `key=value` in text, a member in JSON.
using Field = std::pair<std::string_view, std::string>;

/// Writes to stderr. May be called again at any time (SIGHUP): it takes effect from the next line on. Thread-safe.
void configure(Level level, Format format);

/// Thread-safe. A message is a sentence; what varies goes into fields.
void write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

inline void debug(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::debug, m, f); }
inline void info(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::info, m, f); }
inline void warning(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::warning, m, f); }
inline void error(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::error, m, f); }

}  // namespace regfeatd::log
