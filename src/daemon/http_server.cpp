#include "http_server.hpp"

#include <fmt/format.h>
#include <xxhash.h>
#include <zlib.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <list>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/base/log.hpp"

namespace regfeatd::daemon {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using tcp = boost::asio::ip::tcp;
using boost::system::error_code;

// Scripts, styles and connections: only ours. Nothing is embedded elsewhere, nothing is sent anywhere.
constexpr const char* kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

constexpr std::size_t kWorthCompressing = 1024;
constexpr std::chrono::seconds kLinger{1};
constexpr std::chrono::milliseconds kAcceptPause{
    100};  // after an accept that failed: no file descriptor left, most likely

std::string compressed(const std::string& text) {
  z_stream z{};
  constexpr int kGzipWindow = 15 + 16, kFast = 1, kMemory = 8;
  if (deflateInit2(&z, kFast, Z_DEFLATED, kGzipWindow, kMemory, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string out(deflateBound(&z, static_cast<uLong>(text.size())), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return result == Z_STREAM_END ? out : std::string();
}

std::shared_ptr<const Document> plain(const std::string& text) {
  return make_document("text/plain; charset=utf-8", text + '\n');
}

bool names_loopback(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1) == "[::1]";
  host = host.substr(0, host.find(':'));
  return beast::iequals(beast::string_view(host.data(), host.size()), "localhost") || is_loopback(std::string(host));
}

}  // namespace

std::shared_ptr<const Document> make_document(std::string content_type, std::string body) {
  std::string etag = fmt::format("\"{:016x}\"", XXH3_64bits(body.data(), body.size()));
  std::string gzip = body.size() >= kWorthCompressing ? compressed(body) : std::string();
  return std::make_shared<const Document>(
      Document{std::move(content_type), std::move(body), std::move(gzip), std::move(etag)});
}

bool is_loopback(const std::string& address) {
  error_code error;
  const auto parsed = boost::asio::ip::make_address(address, error);
  return !error && parsed.is_loopback();
}

/// Accepts, and holds the sessions.
class HttpServer::Listener : public std::enable_shared_from_this<HttpServer::Listener> {
 public:
  Listener(boost::asio::io_context& io, HttpLimits limits, Handler handler)
      : acceptor_(io), pause_(io), limits_(limits), handler_(std::move(handler)) {}

  void open(const std::string& address, int port);
  void start() { accept(); }
  void close();
  [[nodiscard]] int port() const { return acceptor_.local_endpoint().port(); }
  [[nodiscard]] const HttpLimits& limits() const noexcept { return limits_; }
  [[nodiscard]] bool local_only() const noexcept { return local_only_; }
  void answer(const HttpRequest& request, const Respond& respond) const;

 private:
  class Session;
  void accept();
  void accept_later();
  void ended();

  tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  const HttpLimits limits_;
  const Handler handler_;
  bool local_only_ = true;
  bool closed_ = false;
  bool accepting_ = false;
  std::list<std::weak_ptr<Session>> sessions_;
};

/// One connection: reads a request, writes its answer, and again.
class HttpServer::Listener::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::shared_ptr<Listener> listener)
      : stream_(std::move(socket)), listener_(std::move(listener)) {}
  ~Session() { listener_->ended(); }

  void read();
  void close() {
    error_code ignored;
    stream_.socket().close(ignored);
  }

 private:
  using Parser = http::request_parser<http::empty_body>;
  using Response = http::response<http::span_body<const char>>;
  void on_read(error_code error);
  void respond(const Parser::value_type& request, HttpResponse answer, bool keep_alive);
  void refuse(http::status status, const std::string& why);
  void fill(const Parser::value_type& request, const HttpResponse& answer, bool keep_alive);
  void finish();
  void drop_rest();

  beast::tcp_stream stream_;
  const std::shared_ptr<Listener> listener_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::shared_ptr<const Document> document_;  // what response_ points into
  std::optional<Response> response_;
  std::optional<http::response_serializer<http::span_body<const char>>> serializer_;
  std::size_t served_ = 0;
};

void HttpServer::Listener::Session::read() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(listener_->limits().header_bytes));
  parser_->body_limit(0);
  buffer_.max_size(2 * listener_->limits().header_bytes);
  stream_.expires_after(listener_->limits().read_timeout);
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](error_code error, std::size_t) { self->on_read(error); });
}

void HttpServer::Listener::Session::on_read(error_code error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return refuse(http::status::request_header_fields_too_large, "the request is too long");
  const auto method = parser_->get().method();
  if (method != http::verb::get && method != http::verb::head && (!error || error == http::error::body_limit))
    return refuse(http::status::method_not_allowed, "everything here is read-only: GET and HEAD");
  if (error == http::error::body_limit) return refuse(http::status::payload_too_large, "a request has no body here");
  if (error == http::error::end_of_stream || error == http::error::partial_message || error == beast::error::timeout)
    return close();
  if (error.category() == http::make_error_code(http::error::bad_method).category())
    return refuse(http::status::bad_request, "this is no HTTP request");
  if (error) return close();
  const auto& request = parser_->get();
  if (parser_->chunked() || parser_->content_length_remaining().value_or(0) > 0)
    return refuse(http::status::payload_too_large, "a request has no body here");
  const auto host = request[http::field::host];
  if (listener_->local_only() && !names_loopback({host.data(), host.size()}))
    return refuse(http::status::misdirected_request, "this server answers to localhost and 127.0.0.1 only");
  const auto target = request.target();
  if (!target.starts_with('/')) return refuse(http::status::bad_request, "this is no path");
  const HttpRequest asked{std::string(target.substr(0, target.find('?')))};
  const bool keep_alive = request.keep_alive() && ++served_ < listener_->limits().requests;
  stream_.expires_never();
  listener_->answer(asked, [self = shared_from_this(), keep_alive](HttpResponse answer) {
    self->respond(self->parser_->get(), std::move(answer), keep_alive);
  });
}

/// Headers of every answer.
void HttpServer::Listener::Session::fill(const Parser::value_type& request, const HttpResponse& answer,
                                         bool keep_alive) {
  Response& r = *response_;
  r.version(11);
  r.result(static_cast<unsigned>(answer.status));
  r.keep_alive(keep_alive);
  r.set(http::field::content_type, document_->content_type);
  r.set(http::field::cache_control, answer.cacheable ? "no-cache" : "no-store");
  r.set(http::field::vary, "Accept-Encoding");
  r.set("Content-Security-Policy", kContentSecurityPolicy);
  r.set("X-Content-Type-Options", "nosniff");
  r.set("Referrer-Policy", "no-referrer");
  r.set("Cross-Origin-Resource-Policy", "same-origin");
  if (answer.status == 405) r.set(http::field::allow, "GET, HEAD");
  if (answer.status == 503) r.set(http::field::retry_after, "1");
  if (answer.cacheable) r.set(http::field::etag, document_->etag);
  if (answer.cacheable && request[http::field::if_none_match] == document_->etag) {
    r.result(http::status::not_modified);
    return;
  }
  const bool zipped =
      !document_->gzip.empty() && http::token_list(request[http::field::accept_encoding]).exists("gzip");
  if (zipped) r.set(http::field::content_encoding, "gzip");
  const std::string& bytes = zipped ? document_->gzip : document_->body;
  r.content_length(bytes.size());
  if (request.method() != http::verb::head) r.body() = {bytes.data(), bytes.size()};
}

void HttpServer::Listener::Session::respond(const Parser::value_type& request, HttpResponse answer, bool keep_alive) {
  document_ = answer.document ? answer.document
                              : plain(std::string(http::obsolete_reason(static_cast<http::status>(answer.status))));
  response_.emplace();
  fill(request, answer, keep_alive);
  serializer_.emplace(*response_);
  stream_.expires_after(listener_->limits().write_timeout);
  const auto written = [self = shared_from_this(), keep_alive](error_code error, std::size_t) {
    if (error) return self->close();
    keep_alive ? self->read() : self->finish();
  };
  if (request.method() == http::verb::head) {
    http::async_write_header(stream_, *serializer_, written);
  } else {
    http::async_write(stream_, *serializer_, written);
  }
}

void HttpServer::Listener::Session::refuse(http::status status, const std::string& why) {
  respond(parser_->get(), {static_cast<int>(status), plain(why)}, false);
}

/// The last answer is out. What the client still sends is read and dropped for a moment: closing on unread
/// bytes would make the kernel take the answer back.
void HttpServer::Listener::Session::finish() {
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  stream_.expires_after(kLinger);
  drop_rest();
}

void HttpServer::Listener::Session::drop_rest() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(listener_->limits().header_bytes),
                          [self = shared_from_this()](error_code error, std::size_t) {
                            if (!error) self->drop_rest();
                          });
}

void HttpServer::Listener::open(const std::string& address, int port) {
  try {
    const auto parsed = boost::asio::ip::make_address(address);
    local_only_ = parsed.is_loopback();
    const tcp::endpoint endpoint(parsed, static_cast<unsigned short>(port));
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(boost::asio::socket_base::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen();
  } catch (const boost::system::system_error& e) {
    throw Fault(FaultClass::configuration,
                fmt::format("http: cannot listen on {} port {}: {}", address, port, e.code().message()));
  }
}

void HttpServer::Listener::accept() {
  if (closed_ || accepting_ || sessions_.size() >= limits_.connections) return;
  accepting_ = true;
  acceptor_.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
    self->accepting_ = false;
    if (error == boost::asio::error::operation_aborted || self->closed_) return;
    if (error) return self->accept_later();
    const auto session = std::make_shared<Session>(std::move(socket), self);
    self->sessions_.push_back(session);
    session->read();
    self->accept();
  });
}

void HttpServer::Listener::accept_later() {
  pause_.expires_after(kAcceptPause);
  pause_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->accept();
  });
}

/// A session is gone: there is room for the next.
void HttpServer::Listener::ended() {
  sessions_.remove_if([](const std::weak_ptr<Session>& s) { return s.expired(); });
  if (!closed_) accept();
}

void HttpServer::Listener::close() {
  closed_ = true;
  error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
  const auto sessions = sessions_;
  for (const auto& weak : sessions) {
    if (const auto session = weak.lock()) session->close();
  }
}

void HttpServer::Listener::answer(const HttpRequest& request, const Respond& respond) const {
  try {
    handler_(request, respond);
  } catch (const std::exception& e) {
    log::error("http: no answer", {{"path", request.path}, {"error", e.what()}});
    respond({500, nullptr});
  }
}

HttpServer::HttpServer(boost::asio::io_context& io, const std::string& address, int port, HttpLimits limits,
                       Handler handler)
    : listener_(std::make_shared<Listener>(io, limits, std::move(handler))) {
  listener_->open(address, port);
  listener_->start();
}

HttpServer::~HttpServer() { listener_->close(); }

int HttpServer::port() const noexcept { return listener_->port(); }

}  // namespace regfeatd::daemon
