#include "site.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <map>

#include "regfeatd/base/log.hpp"
#include "regfeatd/queue/partition_details.hpp"
#include "regfeatd/queue/status.hpp"

namespace regfeatd::daemon {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 12s;  // how long a request waits for the database

constexpr std::chrono::steady_clock::duration kLongestPause = 8s;  // between two readings, however long one takes

constexpr int kListed = 50;  // failures and slow partitions in /api/status

/// The files of the page, by path; compressed once.
const std::map<std::string, std::shared_ptr<const Document>>& page() {
  static const auto all = [] {
    struct File {
      const char *path, *type, *text;
    };
    static constexpr File kFiles[] = {
#include "page.inc"
    };
    std::map<std::string, std::shared_ptr<const Document>> out;
    for (const File& f : kFiles) out[f.path] = make_document(f.type, f.text);
    out["/"] = out.at("/index.html");
    return out;
  }();
  return all;
}

std::string read_status_json(pg::Session& session) {
  queue::SnapshotOptions options;
  options.failures = kListed;
  options.slow_partitions = kListed;
  return queue::to_json(queue::read_snapshot(session, options));
}

/// Fine for the last minutes, coarse for the last day: what a chart can show, whatever the range it is set
/// to.
std::string read_history_json(pg::Session& session) {
  struct Tier {
    int minutes, points;
  };
  constexpr Tier kTiers[] = {{24 * 60, 288}, {120, 240}, {15, 300}};
  queue::SnapshotOptions options{0, 0, false};
  queue::Snapshot out;
  for (const Tier& tier : kTiers) {
    options.history_minutes = tier.minutes;
    options.history_points = tier.points;
    queue::Snapshot next = queue::read_snapshot(session, options);
    // Of the coarser tier, what is older than the finer one reaches. Times are ISO 8601: text order is time
    // order.
    std::vector<queue::ProgressPoint> kept;
    for (auto& p : out.history) {
      const auto same = std::find_if(next.history.begin(), next.history.end(),
                                     [&](const auto& q) { return q.feature_set == p.feature_set; });
      if (same == next.history.end() || p.at < same->at) kept.push_back(std::move(p));
    }
    kept.insert(kept.end(), std::make_move_iterator(next.history.begin()), std::make_move_iterator(next.history.end()));
    next.history = std::move(kept);
    out = std::move(next);
  }
  std::stable_sort(out.history.begin(), out.history.end(), [](const auto& a, const auto& b) {
    return std::tie(a.feature_set, a.at) < std::tie(b.feature_set, b.at);
  });
  return queue::to_json(out);
}

HttpResponse text(int status, const std::string& what) {
  return {status, make_document("text/plain; charset=utf-8", what + '\n')};
}

}  // namespace

Site::Site(boost::asio::io_context& io, Shared& shared, const std::string& daemon_name)
    : io_(io),
      shared_(shared),
      topics_{{{"/api/status", read_status_json, 900ms},
               {"/api/partitions", queue::partition_details_json, 3s},
               {"/api/history", read_history_json, 5s}}},
      timer_(io) {
  const auto settings = shared.settings();
  (void)page();
  server_.emplace(io, settings->http.address, *settings->http.port, HttpLimits{},
                  [this](const HttpRequest& request, HttpServer::Respond respond) {
                    answer(request, [this, respond = std::move(respond)](HttpResponse r) {
                      metrics_.count_response(r.status);
                      respond(std::move(r));
                    });
                  });
  const std::string url = "http://" +
                          (settings->http.address.find(':') == std::string::npos ? settings->http.address
                                                                                 : '[' + settings->http.address + ']') +
                          ':' + std::to_string(server_->port()) + '/';
  log::info("status page", {{"url", url}, {"daemon", daemon_name}});
  if (!is_loopback(settings->http.address)) {
    log::warning("the status page can be read by whoever reaches this address: it has neither encryption nor a login",
                 {{"address", settings->http.address}});
  }
  watch_waiting();
}

Site::~Site() = default;

void Site::close() {
  server_.reset();
  timer_.cancel();
  for (Topic& topic : topics_) topic.waiting.clear();
}

void Site::answer(const HttpRequest& request, HttpServer::Respond respond) {
  if (request.path == "/healthz")
    return respond(shared_.fatal.load() ? text(503, "fatal fault: the process ends") : text(200, "ok"));
  if (request.path == "/readyz") return respond(ready());
  if (request.path == "/metrics")
    return respond({200, make_document("text/plain; version=0.0.4; charset=utf-8", metrics_.text(shared_))});
  for (Topic& topic : topics_) {
    if (request.path == topic.path) return answer_topic(topic, std::move(respond));
  }
  const auto file = page().find(request.path);
  if (file == page().end())
    return respond(text(404,
                        "there is no such page; the paths are /, /api/status, /api/partitions, /api/history, "
                        "/metrics, /healthz, /readyz"));
  respond({200, file->second, true});
}

HttpResponse Site::ready() const {
  if (shared_.fatal.load()) return text(503, "fatal fault: the process ends");
  if (shared_.draining.load()) return text(503, "draining: nothing more is claimed");
  if (!shared_.lease_held.load())
    return text(503, "the database has not acknowledged a heartbeat for longer than the lease");
  return text(200, "ok");
}

void Site::answer_topic(Topic& topic, HttpServer::Respond respond) {
  const auto now = Clock::now();
  if (topic.document && now - topic.taken < topic.fresh) return respond({200, topic.document, true});
  topic.waiting.push_back({std::move(respond), now + kPatience});
  topic.wanted = true;
  shared_.wake_reporter();
}

void Site::publish(Topic& topic, std::shared_ptr<const Document> document, Clock::time_point taken) {
  topic.document = std::move(document);
  topic.taken = taken;
  for (Waiting& w : std::exchange(topic.waiting, {})) w.respond({200, topic.document, true});
}

/// Once a second: whoever has waited too long is told so.
void Site::watch_waiting() {
  const auto now = Clock::now();
  for (Topic& topic : topics_) {
    for (Waiting& w : std::exchange(topic.waiting, {})) {
      if (w.until > now) {
        topic.waiting.push_back(std::move(w));
      } else {
        w.respond(text(503, "the database does not answer; the daemon keeps trying"));
      }
    }
  }
  timer_.expires_after(1s);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) watch_waiting();
  });
}

void Site::reported(pg::Session& session, const std::vector<queue::FeatureSetStatus>& status) {
  metrics_.set(status);
  for (const queue::FinishedAttempt& a : finished_.next(session, DaemonId{shared_.daemon_id.load()})) metrics_.count(a);
}

std::chrono::steady_clock::time_point Site::refresh(pg::Session& session) {
  auto next = Clock::time_point::max();
  for (Topic& topic : topics_) {
    if (!topic.wanted.load()) continue;
    const auto start = Clock::now();
    if (start < topic.not_before) {
      next = std::min(next, topic.not_before);
      continue;
    }
    topic.wanted = false;
    const auto document = make_document("application/json", topic.read(session));
    const auto end = Clock::now();
    topic.not_before = end + std::min<Clock::duration>(30 * (end - start), kLongestPause);
    boost::asio::post(io_, [this, &topic, document, start] { publish(topic, document, start); });
  }
  return next;
}

}  // namespace regfeatd::daemon
