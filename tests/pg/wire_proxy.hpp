#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "regfeatd/base/mutex.hpp"

namespace regfeatd::test {

/// What becomes of a COMMIT that passes by.
enum class CommitFate {
  pass,
  lose_reply,  ///< the server commits, the client never hears of it
  lose_request,  ///< the client's connection ends before the COMMIT arrives; the server's stays open, as behind a dead network
};

/// Stands between clients and a server's Unix socket and cuts connections exactly at COMMIT.
class WireProxy {
 public:
  /// `server`: conninfo with host (a folder) and port. `decide` is asked at each COMMIT with the client's
  /// application_name; from several threads.
  WireProxy(const std::string& server, std::function<CommitFate(const std::string&)> decide);
  ~WireProxy();
  WireProxy(const WireProxy&) = delete;
  WireProxy& operator=(const WireProxy&) = delete;

  /// The server's conninfo, by way of this proxy.
  [[nodiscard]] std::string conninfo() const { return conninfo_; }
  [[nodiscard]] int replies_lost() const noexcept { return replies_lost_; }
  [[nodiscard]] int requests_lost() const noexcept { return requests_lost_; }

 private:
  void accept_loop(const std::stop_token& stop);
  void relay(int client, const std::stop_token& stop);

  const std::function<CommitFate(const std::string&)> decide_;
  std::filesystem::path folder_;
  std::string server_socket_, conninfo_;
  int listener_ = -1;
  std::atomic<int> replies_lost_{0}, requests_lost_{0};
  Mutex mutex_;
  std::vector<std::jthread> relays_ REGFEATD_GUARDED_BY(mutex_);
  std::vector<int> left_open_ REGFEATD_GUARDED_BY(mutex_);
  std::jthread acceptor_;
};

}  // namespace regfeatd::test
