#pragma once

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http_server.hpp"
#include "metrics.hpp"
#include "regfeatd/pg/session.hpp"
#include "shared.hpp"

namespace regfeatd::daemon {

/// What the daemon serves by HTTP, and where it comes from (docs/http.md).
///
/// The control thread answers requests and never touches the database: /metrics, /healthz and /readyz come
/// from counters, the page from the program itself, and the documents of /api from the last reading that the
/// reporter published. When that is older than a second or so, the request waits, the reporter is woken and
/// reads anew; however many clients ask, it reads once, and then pauses for thirty times as long as the
/// reading took, but for 8 s at the most.
class Site {
 public:
  /// Listens at once, as the settings say. Throws Fault.
  Site(boost::asio::io_context& io, Shared& shared, const std::string& daemon_name);
  ~Site();

  /// Ends all connections and takes no new ones, so that the io_context can come to its end.
  void close();

  // -- on the reporter's thread
  void reported(pg::Session& session, const std::vector<queue::FeatureSetStatus>& status);
  void heartbeat() { metrics_.set_heartbeat(); }
  /// Reads what somebody waits for. Returns when it wants to be called again at the latest.
  std::chrono::steady_clock::time_point refresh(pg::Session& session);

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    HttpServer::Respond respond;
    Clock::time_point until;
  };
  /// A document of /api.
  struct Topic {
    const char* path;
    std::string (*read)(pg::Session&);
    Clock::duration fresh;                       ///< served without a new reading so long
    std::shared_ptr<const Document> document{};  // these three: on the control thread
    Clock::time_point taken{};
    std::vector<Waiting> waiting{};
    std::atomic<bool> wanted{false};  ///< by the control thread of the reporter
    Clock::time_point not_before{};   // on the reporter's thread
  };
  void answer(const HttpRequest& request, HttpServer::Respond respond);
  void answer_topic(Topic& topic, HttpServer::Respond respond);
  void publish(Topic& topic, std::shared_ptr<const Document> document, Clock::time_point taken);
  void watch_waiting();
  [[nodiscard]] HttpResponse ready() const;

  boost::asio::io_context& io_;
  Shared& shared_;
  Metrics metrics_;
  queue::FinishedAttempts finished_;
  std::array<Topic, 3> topics_;
  boost::asio::steady_timer timer_;
  std::optional<HttpServer> server_;  // last: it calls everything above
};

}  // namespace regfeatd::daemon
