// generate-bars: minute bars of a currency pair that look like the real ones, the same on every machine.
//
// All arithmetic is on integers: prices are fixed-point numbers, random numbers come from splitmix64 of the
// minute, and nothing depends on the libraries of the machine. A minute's random numbers depend on the pair,
// the seed and the minute alone, and a price on what came before it, so that a longer series begins with the
// shorter one.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using std::chrono::days;
using std::chrono::sys_days;
using std::chrono::year_month_day;

constexpr int kExitUsage = 64;
constexpr int kMinutesPerDay = 1440;

// -- pairs
// ----------------------------------------------------------------------------------------------------------

struct Pair {
  std::string_view name;
  std::int64_t base_points;  // price around which the series moves, in the last decimal that is quoted
  std::int64_t sigma_ppm;    // standard deviation of an average minute's return, in millionths
};

// Most traded first. Five decimals, three where the yen is the quoted currency.
constexpr std::array kPairs = {
    Pair{"eurusd", 108200, 75}, Pair{"gbpusd", 128400, 80},  Pair{"usdjpy", 151300, 90}, Pair{"audusd", 65700, 100},
    Pair{"usdcad", 138200, 65}, Pair{"usdchf", 87900, 75},   Pair{"nzdusd", 59800, 105}, Pair{"eurgbp", 84300, 60},
    Pair{"eurjpy", 163700, 95}, Pair{"gbpjpy", 194300, 100}, Pair{"audcad", 90800, 85},  Pair{"audchf", 57800, 100},
    Pair{"audjpy", 99400, 110}, Pair{"audnzd", 109900, 65},  Pair{"cadchf", 63600, 80},  Pair{"cadjpy", 109500, 95},
    Pair{"chfjpy", 172100, 95}, Pair{"euraud", 164700, 85},  Pair{"eurcad", 149500, 75}, Pair{"eurchf", 95100, 65},
    Pair{"eurnzd", 181000, 90}, Pair{"gbpaud", 195400, 85},  Pair{"gbpcad", 177400, 75}, Pair{"gbpchf", 112900, 75},
    Pair{"gbpnzd", 214700, 90}, Pair{"nzdcad", 82600, 85},   Pair{"nzdchf", 52600, 100}, Pair{"nzdjpy", 90500, 110},
};

/// Any name will do: one that is not listed moves around 1.00000 (100.000 for the yen).
Pair find_pair(std::string_view name) {
  const auto* found = std::find_if(kPairs.begin(), kPairs.end(), [&](const Pair& p) { return p.name == name; });
  return found != kPairs.end() ? *found : Pair{name, 100000, 80};
}

int decimals(const Pair& pair) { return pair.name.ends_with("jpy") ? 3 : 5; }

// -- random numbers
// -------------------------------------------------------------------------------------------------

/// splitmix64 (Steele, Lea and Flood, 2014): the n-th output of the stream that starts at `state`.
std::uint64_t splitmix64(std::uint64_t state, std::uint64_t n) {
  std::uint64_t z = state + (n + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

/// The start of a pair's stream: FNV-1a of its name, mixed with the seed.
std::uint64_t stream_of(std::string_view pair, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : pair) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return splitmix64(hash, seed);
}

/// Hands out the bits of one 64-bit random number.
class Bits {
 public:
  explicit Bits(std::uint64_t bits) : bits_(bits) {}
  /// Uniform in [0, 2^n).
  std::int64_t take(unsigned n) {
    const auto value = static_cast<std::int64_t>(bits_ & ((std::uint64_t{1} << n) - 1));
    bits_ >>= n;
    return value;
  }

 private:
  std::uint64_t bits_;
};

// -- when the market is open
// ----------------------------------------------------------------------------------------

/// US daylight saving as it stands since 2007: from the second Sunday of March to the first Sunday of
/// November. Both changes come before 17:00, so that this tells the offset at the daily close of that date.
bool new_york_daylight_saving(sys_days day) {
  using std::chrono::March, std::chrono::November, std::chrono::Sunday;
  const auto year = year_month_day{day}.year();
  return day >= sys_days{year / March / Sunday[2]} && day < sys_days{year / November / Sunday[1]};
}

/// The minute of the UTC day at which one trading day ends and the next begins: 17:00 in New York.
int trading_day_change(sys_days day) { return (17 + (new_york_daylight_saving(day) ? 4 : 5)) * 60; }

bool is_trading_day(sys_days day) {
  using std::chrono::weekday;
  const unsigned dow = weekday{day}.iso_encoding();
  const year_month_day date{day};
  const bool christmas = date.month() == std::chrono::December && date.day() == std::chrono::day{25};
  const bool new_year = date.month() == std::chrono::January && date.day() == std::chrono::day{1};
  return dow <= 5 && !christmas && !new_year;
}

// -- prices
// ---------------------------------------------------------------------------------------------------------

struct Bar {
  std::int64_t open, high, low, close;  // points
  std::int64_t volume;
};

/// The price of one pair, minute by minute.
class Market {
 public:
  Market(const Pair& pair, std::uint64_t seed)
      : pair_(pair), stream_(stream_of(pair.name, seed)), base_(pair.base_points << kFraction), price_(base_) {}

  /// The next open minute (counted from 1970; they must grow), or nothing when no quote came in it.
  std::optional<Bar> step(std::int64_t minute) {
    const auto n = 2 * static_cast<std::uint64_t>(minute);
    Bits path(splitmix64(stream_, n));
    Bits events(splitmix64(stream_, n + 1));
    const std::int64_t missing = events.take(16);
    const std::int64_t event = events.take(16);
    const std::int64_t size = events.take(16);
    const std::int64_t volatility_noise = events.take(8) - 128;
    const std::int64_t volume_noise = events.take(8);
    const int hour = static_cast<int>(minute / 60 % 24);

    begin_events(event, size, minute != last_minute_ + 1);
    last_minute_ = minute;
    // Volatility clusters: it wanders around 1 and is pulled back within an hour or so.
    volatility_ += (kOne - volatility_) / 64 + volatility_noise * volatility_ / 4096;
    volatility_ = std::clamp<std::int64_t>(volatility_, kOne / 3, 4 * kOne);

    const std::int64_t sigma = price_ / 1000 * pair_.sigma_ppm * kHourPercent[static_cast<std::size_t>(hour)] / 100 *
                               volatility_ / kOne / 1000;
    const Bar bar = flat_left_ > 0 ? flat_bar() : moving_bar(path, sigma, volume_noise);
    // In the quiet hour after the daily close more minutes pass without a quote.
    const bool no_quote = missing < (hour == 21 || hour == 22 ? kMissingQuiet : kMissing) || gap_left_ > 0;
    if (gap_left_ > 0) --gap_left_;
    if (no_quote) return std::nullopt;
    return bar;
  }

 private:
  static constexpr int kFraction = 12;           // bits after the point of a price
  static constexpr std::int64_t kOne = 1024;     // a volatility of 1
  static constexpr std::int64_t kMissing = 590;  // of 65536: 0.9 %
  static constexpr std::int64_t kMissingQuiet = 2600;
  // Of 65536 minutes, how many begin a flat stretch, a gap, a jump. A month has 31,000.
  static constexpr std::int64_t kFlats = 16, kGaps = 11, kJumps = 9;
  // How lively each hour of the UTC day is: London and New York, and the overlap of both.
  static constexpr std::array<std::int64_t, 24> kHourPercent = {
      70, 75, 70, 60, 55, 60, 85, 125, 135, 125, 110, 105, 125, 160, 165, 150, 115, 95, 85, 75, 55, 35, 45, 60};

  static std::int64_t points(std::int64_t price) { return (price + (std::int64_t{1} << (kFraction - 1))) >> kFraction; }

  void begin_events(std::int64_t event, std::int64_t size, bool reopened) {
    const std::int64_t sign = (size & 1) == 0 ? 1 : -1;
    if (reopened) price_ += sign * (price_ / 65536) * (size / 256);  // up to 0.4 %
    if (event < kFlats) {
      flat_left_ = 5 + size % 64;
    } else if (event < kFlats + kGaps) {
      gap_left_ = 2 + size % 64;
    } else if (event < kFlats + kGaps + kJumps) {
      price_ += sign * (price_ / 65536) * (64 + size / 256);  // 0.1 to 0.5 %
      flat_left_ = 0;
    }
    // A slow pull, over years, keeps the price within reach of its base.
    price_ += (base_ - price_) >> 20U;
    price_ = std::clamp(price_, base_ / 2, base_ * 2);
  }

  Bar flat_bar() {
    --flat_left_;
    const std::int64_t p = points(price_);
    return {p, p, p, p, 0};
  }

  /// Four quotes in the minute, each a uniform step away from the one before: their sum is close to normal.
  Bar moving_bar(Bits& path, std::int64_t sigma, std::int64_t volume_noise) {
    constexpr std::int64_t kUniformDeviation = 18918;  // of a uniform number in [-32768, 32768)
    std::array<std::int64_t, 4> quote{};
    for (auto& q : quote) {
      price_ += sigma * (path.take(16) - 32768) / (2 * kUniformDeviation);
      q = points(price_);
    }
    const auto [low, high] = std::minmax_element(quote.begin(), quote.end());
    return {quote.front(), *high, *low, quote.back(), 5 + (sigma >> (kFraction - 3)) + volume_noise / 4};
  }

  Pair pair_;
  std::uint64_t stream_;
  std::int64_t base_;
  std::int64_t price_;
  std::int64_t volatility_ = kOne;
  std::int64_t last_minute_ = -1;
  std::int64_t flat_left_ = 0;
  std::int64_t gap_left_ = 0;
};

// -- output
// ---------------------------------------------------------------------------------------------------------

/// CSV on standard output, through one buffer.
class Writer {
 public:
  explicit Writer(int price_decimals) : decimals_(price_decimals) { buffer_.reserve(kBufferBytes + 256); }

  void header() { buffer_ += "ts_utc,open,high,low,close,volume\n"; }

  void start_day(sys_days day) {
    const year_month_day date{day};
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
    day_ = text.data();
  }

  void bar(int minute_of_day, const Bar& bar) {
    buffer_ += day_;
    two_digits(minute_of_day / 60);
    buffer_ += ':';
    two_digits(minute_of_day % 60);
    buffer_ += ":00Z";
    for (const auto price : {bar.open, bar.high, bar.low, bar.close}) {
      buffer_ += ',';
      decimal(price);
    }
    buffer_ += ',';
    number(bar.volume);
    buffer_ += '\n';
    if (buffer_.size() >= kBufferBytes) flush();
  }

  /// Throws std::system_error when standard output takes no more.
  void flush() {
    if (std::fwrite(buffer_.data(), 1, buffer_.size(), stdout) != buffer_.size() || std::fflush(stdout) != 0)
      throw std::system_error(errno, std::generic_category(), "writing to standard output");
    buffer_.clear();
  }

 private:
  static constexpr std::size_t kBufferBytes = 1U << 20U;

  void two_digits(int value) {
    buffer_ += static_cast<char>('0' + value / 10);
    buffer_ += static_cast<char>('0' + value % 10);
  }
  void number(std::int64_t value) {
    std::array<char, 24> text{};
    buffer_.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr);
  }
  /// A price in points, with its decimals.
  void decimal(std::int64_t value) {
    std::int64_t scale = 1;
    for (int i = 0; i < decimals_; ++i) scale *= 10;
    number(value / scale);
    buffer_ += '.';
    for (value %= scale, scale /= 10; scale > 0; scale /= 10) buffer_ += static_cast<char>('0' + value / scale % 10);
  }

  int decimals_;
  std::string day_;
  std::string buffer_;
};

void generate(const Pair& pair, std::uint64_t seed, sys_days from, sys_days to) {
  Market market(pair, seed);
  Writer writer(decimals(pair));
  writer.header();
  for (sys_days day = from; day < to; day += days{1}) {
    writer.start_day(day);
    const int change = trading_day_change(day);
    const bool before = is_trading_day(day);
    const bool after = is_trading_day(day + days{1});
    for (int minute = 0; minute < kMinutesPerDay; ++minute) {
      if (!(minute < change ? before : after)) continue;
      const std::int64_t absolute = std::int64_t{day.time_since_epoch().count()} * kMinutesPerDay + minute;
      if (const auto bar = market.step(absolute)) writer.bar(minute, *bar);
    }
  }
  writer.flush();
}

/// YYYY-MM-DD, a date that exists.
std::optional<year_month_day> parse_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  int year = 0;
  unsigned month = 0;
  unsigned day = 0;
  const auto number = [&](std::size_t begin, std::size_t count, auto& value) {
    const auto* end = text.data() + begin + count;
    const auto result = std::from_chars(text.data() + begin, end, value);
    return result.ec == std::errc{} && result.ptr == end;
  };
  if (!number(0, 4, year) || !number(5, 2, month) || !number(8, 2, day)) return std::nullopt;
  const year_month_day date{std::chrono::year{year}, std::chrono::month{month}, std::chrono::day{day}};
  if (!date.ok()) return std::nullopt;
  return date;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Writes minute bars of a currency pair to standard output, as CSV with the header "
      "ts_utc,open,high,low,close,volume.\n"
      "The bars are made up, but shaped like real ones: weeks from Sunday to Friday 17:00 in New York, "
      "holidays, missing\n"
      "minutes, flat stretches, jumps, lively and quiet hours. The same arguments give the same bytes on "
      "every machine;\n"
      "more months only add to the end.",
      "generate-bars"};
  std::string pair_name;
  std::string from_text;
  int months = 1;
  std::uint64_t seed = 1;
  bool list_pairs = false;
  app.add_option("--pair", pair_name,
                 "The pair, such as eurusd; names that end in jpy are quoted with 3 decimals, others with 5");
  app.add_option("--from", from_text, "First day, YYYY-MM-DD, 2007-01-01 or later");
  app.add_option("--months", months, "Number of months")->check(CLI::Range(1, 1200))->capture_default_str();
  app.add_option("--seed", seed, "Another seed gives other bars")->capture_default_str();
  app.add_flag("--list-pairs", list_pairs,
               "Print the pairs with a realistic price of their own, most traded first, and exit");
  app.footer("Example: generate-bars --pair eurusd --from 2024-07-01 --months 3 | scripts/load-bars eurusd -");
  try {
    app.parse(argc, argv);
    if (!list_pairs) {
      if (pair_name.empty()) throw CLI::RequiredError("--pair");
      if (from_text.empty()) throw CLI::RequiredError("--from");
    }
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  if (list_pairs) {
    for (const auto& pair : kPairs) std::printf("%.*s\n", static_cast<int>(pair.name.size()), pair.name.data());
    return 0;
  }

  const auto from = parse_date(from_text);
  // The rule for daylight saving in the United States is that of 2007.
  if (!from || from->year() < std::chrono::year{2007}) {
    std::fprintf(stderr, "generate-bars: --from takes a date YYYY-MM-DD from 2007-01-01 on, not '%s'\n",
                 from_text.c_str());
    return kExitUsage;
  }
  const auto to = *from + std::chrono::months{months};
  if (!to.ok()) {
    std::fprintf(stderr, "generate-bars: %d months after %s is no date; start on an earlier day of the month\n", months,
                 from_text.c_str());
    return kExitUsage;
  }
  try {
    generate(find_pair(pair_name), seed, sys_days{*from}, sys_days{to});
  } catch (const std::system_error& e) {
    std::fprintf(stderr, "generate-bars: %s\n", e.what());
    return 1;
  }
  return 0;
}
