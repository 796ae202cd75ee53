#include "regfeatd/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdio>

namespace regfeatd::log {
namespace {

std::atomic<Format> current_format{Format::text};

spdlog::logger& logger() {
  // Never destroyed: worker threads may log while the process ends.
  static spdlog::logger* const instance = [] {
    auto* made = new spdlog::logger("regfeatd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warning:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char buffer[8];
          std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(c));
          out += buffer;
        } else {
          out += c;
        }
    }
  }
}

bool needs_quotes(std::string_view text) {
  return text.empty() || text.find_first_of(" \"=\n\r\t") != std::string_view::npos;
}

}  // namespace

void configure(Level level, Format format) {
  spdlog::logger& l = logger();
  l.set_level(to_spdlog(level));
  if (current_format.exchange(format) != format) {
    // In JSON the message is made whole in write(); the pattern only closes the object.
    l.set_pattern(format == Format::json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                                         : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  }
}

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  spdlog::logger& l = logger();
  if (!l.should_log(to_spdlog(level))) return;
  std::string line;
  line.reserve(message.size() + 64 * fields.size());
  if (current_format.load(std::memory_order_relaxed) == Format::json) {
    line += "\"message\":\"";
    append_escaped(line, message);
    line += '"';
    for (const auto& [key, value] : fields) {
      line += ",\"";
      append_escaped(line, key);
      line += "\":\"";
      append_escaped(line, value);
      line += '"';
    }
  } else {
    for (const char c : message) line += c == '\n' || c == '\r' ? ' ' : c;
    for (const auto& [key, value] : fields) {
      line += ' ';
      line += key;
      line += '=';
      if (needs_quotes(value)) {
        line += '"';
        append_escaped(line, value);
        line += '"';
      } else {
        line += value;
      }
    }
  }
  l.log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace regfeatd::log
