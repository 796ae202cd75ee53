#pragma once

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // xxhash.h, with the instruction set chosen at run time; the same bits
#else
#include <xxhash.h>
#endif

#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

namespace regfeatd::populate {

/// XXH3, 128 bits, over a stream of bytes.
class StreamHash {
 public:
  StreamHash() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }
  void update(std::span<const std::byte> bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }
  [[nodiscard]] std::string hex() const {
    const XXH128_hash_t h = XXH3_128bits_digest(state_.get());
    char text[40];
    std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(h.high64),
                  static_cast<unsigned long long>(h.low64));
    return text;
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* s) const noexcept { XXH3_freeState(s); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

}  // namespace regfeatd::populate
