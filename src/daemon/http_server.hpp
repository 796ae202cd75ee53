#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace regfeatd::daemon {

/// A text that is served again and again until the next one takes its place. Immutable once made; any thread.
struct Document {
  std::string content_type;
  std::string body;
  std::string gzip;  ///< the same, compressed; empty: not worth it
  std::string etag;  ///< a hash of the body, in quotes
};
[[nodiscard]] std::shared_ptr<const Document> make_document(std::string content_type, std::string body);

struct HttpRequest {
  std::string path;  ///< without the query
};

struct HttpResponse {
  int status = 200;
  std::shared_ptr<const Document> document;
  bool cacheable = false;  ///< the browser may keep it and ask with its ETag whether it is still the latest
};

/// What one process may ask of us; the bounds are documented in docs/http.md.
struct HttpLimits {
  std::size_t connections = 64;  ///< open at a time; further ones wait in the kernel's queue
  std::size_t header_bytes = 8 * 1024;
  std::size_t requests = 10'000;                                      ///< on one connection, which is then closed
  std::chrono::milliseconds read_timeout = std::chrono::seconds{15};  ///< for a whole request, the wait for it included
  std::chrono::milliseconds write_timeout = std::chrono::seconds{30};
};

/// A read-only HTTP/1.1 server on somebody else's io_context: GET and HEAD without a body, nothing else. It
/// knows no page: `handler` is called for every request on the thread of the io_context and must not block;
/// it answers by calling `respond`, once, on that thread, at once or later. On a loopback address only
/// requests are answered that name a loopback host, so that no web page elsewhere can read through the
/// operator's browser what is served here (DNS rebinding). Not thread-safe.
class HttpServer {
 public:
  using Respond = std::function<void(HttpResponse)>;
  using Handler = std::function<void(const HttpRequest&, Respond)>;
  /// Listens at once. Port 0: any free one, see `port`. Throws Fault (configuration) when the address is not
  /// one or cannot be had.
  HttpServer(boost::asio::io_context& io, const std::string& address, int port, HttpLimits limits, Handler handler);
  /// Ends all connections. Handlers that are under way keep what they need until the io_context has called or
  /// destroyed them.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] int port() const noexcept;

 private:
  class Listener;
  std::shared_ptr<Listener> listener_;
};

/// Whether an address is one of this machine's own loopback (127.0.0.0/8, ::1). false for what is no address.
[[nodiscard]] bool is_loopback(const std::string& address);

}  // namespace regfeatd::daemon
