#include "daemon/http_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::daemon {
namespace {

using boost::asio::ip::tcp;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A server with three paths, on a thread of its own.
class Server : public ::testing::Test {
 protected:
  void start(HttpLimits limits = {}) {
    server_.emplace(io_, "127.0.0.1", 0, limits, [this](const HttpRequest& request, HttpServer::Respond respond) {
      if (request.path == "/throw") throw std::runtime_error("broken");
      if (request.path == "/later") {
        timer_.expires_after(20ms);
        timer_.async_wait([respond](const auto&) { respond({200, make_document("text/plain", "late")}); });
        return;
      }
      if (request.path == "/never") return held_.push_back(respond);
      if (request.path == "/long") return respond({200, make_document("text/plain", std::string(100'000, 'x')), true});
      if (request.path == "/empty") return respond({404, nullptr});
      respond({200, make_document("text/plain", "path " + request.path), true});
    });
    port_ = server_->port();
    thread_ = std::jthread([this] { io_.run(); });
  }
  void TearDown() override {
    boost::asio::post(io_, [this] {
      server_.reset();
      held_.clear();
      timer_.cancel();
      work_.reset();
    });
    thread_.join();  // the io_context runs out of work: nothing is left behind
  }

  [[nodiscard]] tcp::socket connect() {
    tcp::socket s(client_);
    s.connect({boost::asio::ip::make_address("127.0.0.1"), static_cast<unsigned short>(port_)});
    return s;
  }
  static void send(tcp::socket& s, const std::string& text) {
    boost::system::error_code ignored;
    boost::asio::write(s, boost::asio::buffer(text), ignored);
  }
  /// Everything until the server closes.
  static std::string rest(tcp::socket& s) {
    std::string out;
    boost::system::error_code error;
    boost::asio::read(s, boost::asio::dynamic_buffer(out), error);
    return out;
  }
  /// The answer to one request on a connection of its own.
  std::string ask(const std::string& request) {
    tcp::socket s = connect();
    send(s, request);
    return rest(s);
  }
  static std::string get(const std::string& path, const std::string& headers = "Host: localhost\r\n") {
    return "GET " + path + " HTTP/1.1\r\n" + headers + "Connection: close\r\n\r\n";
  }

  boost::asio::io_context io_, client_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
  boost::asio::steady_timer timer_{io_};
  std::vector<HttpServer::Respond> held_;
  std::optional<HttpServer> server_;
  int port_ = 0;
  std::jthread thread_;
};

TEST_F(Server, AnswersWithTheHeadersOfAReadOnlyPage) {
  start();
  const std::string answer = ask(get("/a?b=c"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\npath /a"));
  EXPECT_THAT(answer, HasSubstr("Content-Security-Policy: default-src 'none'; script-src 'self'; style-src "
                                "'self'; connect-src 'self'"));
  EXPECT_THAT(answer, HasSubstr("X-Content-Type-Options: nosniff"));
}

TEST_F(Server, HeadHasNoBody) {
  start();
  const std::string answer = ask("HEAD /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 7\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
}

TEST_F(Server, OtherMethodsAreRefusedWithOrWithoutABody) {
  start();
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"}) {
    const std::string line = std::string(method) + " /a HTTP/1.1\r\nHost: localhost\r\n";
    for (const std::string& request : {line + "\r\n", line + "Content-Length: 3\r\n\r\nabc"}) {
      const std::string answer = ask(request);
      EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 ")) << request;
      EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD\r\n"));
    }
  }
}

TEST_F(Server, AGetHasNoBodyEither) {
  start();
  EXPECT_THAT(ask("GET /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(ask("GET /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
}

TEST_F(Server, LongAndBrokenRequestsAreRefused) {
  start();
  EXPECT_THAT(ask(get("/a", "Host: localhost\r\nX: " + std::string(9000, 'x') + "\r\n")), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(ask(get("/" + std::string(100'000, 'a'))), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask("GET a HTTP/1.1\r\nHost: localhost\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask("\x16\x03\x01\x02\x01\x01\x01\xfc"), ::testing::AnyOf(StartsWith("HTTP/1.1 400 "), std::string()));
  EXPECT_THAT(ask(get("/a")), StartsWith("HTTP/1.1 200 ")) << "and the server is still there";
}

TEST_F(Server, OnLoopbackOnlyLoopbackNamesAreAnswered) {
  start();
  for (const char* host :
       {"localhost", "localhost:9465", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "127.1.2.3", "[::1]", "[::1]:80"})
    EXPECT_THAT(ask(get("/a", std::string("Host: ") + host + "\r\n")), StartsWith("HTTP/1.1 200 ")) << host;
  for (const char* host : {"evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "[::2]", ""})
    EXPECT_THAT(ask(get("/a", std::string("Host: ") + host + "\r\n")), StartsWith("HTTP/1.1 421 ")) << host;
  EXPECT_THAT(ask(get("/a", "")), StartsWith("HTTP/1.1 421 "));
}

TEST_F(Server, CompressesForWhoWantsItAndKnowsWhatTheClientHas) {
  start();
  const std::string whole = ask(get("/long"));
  EXPECT_THAT(whole, HasSubstr("Content-Length: 100000\r\n"));
  const std::string small = ask(get("/long", "Host: localhost\r\nAccept-Encoding: br, gzip\r\n"));
  EXPECT_THAT(small, HasSubstr("Content-Encoding: gzip\r\n"));
  EXPECT_LT(small.size(), 2000U);
  const auto at = whole.find("ETag: ") + 6;
  const std::string etag = whole.substr(at, whole.find('\r', at) - at);
  const std::string same = ask(get("/long", "Host: localhost\r\nIf-None-Match: " + etag + "\r\n"));
  EXPECT_THAT(same, StartsWith("HTTP/1.1 304 "));
  EXPECT_LT(same.size(), 1000U);
  EXPECT_THAT(ask(get("/long", "Host: localhost\r\nIf-None-Match: \"other\"\r\n")), StartsWith("HTTP/1.1 200 "));
}

TEST_F(Server, ManyRequestsOnOneConnection) {
  start({.requests = 3});
  tcp::socket s = connect();
  const std::string request = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
  send(s, request + request + request + request);  // pipelined
  const std::string all = rest(s);
  std::size_t answers = 0;
  for (std::size_t p = all.find("path /a"); p != std::string::npos; p = all.find("path /a", p + 1)) ++answers;
  EXPECT_EQ(answers, 3U) << "then the connection is closed";
}

TEST_F(Server, AnAnswerMayComeLaterAndAnErrorIsAnAnswer) {
  start();
  EXPECT_THAT(ask(get("/later")), HasSubstr("\r\n\r\nlate"));
  EXPECT_THAT(ask(get("/throw")), StartsWith("HTTP/1.1 500 "));
  EXPECT_THAT(ask(get("/empty")), HasSubstr("\r\n\r\nNot Found"));
}

TEST_F(Server, SlowClientsLoseTheirConnection) {
  start({.read_timeout = 50ms});
  tcp::socket silent = connect(), slow = connect();
  send(slow, "GET /a HT");
  EXPECT_EQ(rest(silent), "");
  EXPECT_EQ(rest(slow), "");
}

TEST_F(Server, NoMoreConnectionsThanAllowedAndTheNextIsServedWhenOneEnds) {
  start({.connections = 2});
  std::optional<tcp::socket> first(connect()), second(connect());
  const auto held = [this] {
    std::promise<std::size_t> n;
    boost::asio::post(io_, [&] { n.set_value(held_.size()); });
    return n.get_future().get();
  };
  send(*first, get("/never"));
  while (held() < 1) std::this_thread::sleep_for(1ms);
  send(*second, get("/never"));
  while (held() < 2) std::this_thread::sleep_for(1ms);
  tcp::socket third = connect();
  send(third, get("/a"));
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(third.available(), 0U) << "waits";
  boost::asio::post(io_, [this] {
    held_.front()({200, make_document("text/plain", "now")});
    held_.erase(held_.begin());
  });
  EXPECT_THAT(rest(*first), HasSubstr("now"));
  first.reset();
  EXPECT_THAT(rest(third), HasSubstr("path /a"));
}

TEST_F(Server, EndsWithRequestsInHand) {
  start();
  tcp::socket s = connect();
  send(s, get("/never"));
  std::this_thread::sleep_for(5ms);
}  // TearDown: joins

TEST(HttpServer, AnAddressThatCannotBeHadIsAConfigurationFault) {
  boost::asio::io_context io;
  const auto none = [](const HttpRequest&, const HttpServer::Respond&) {};
  const HttpServer first(io, "127.0.0.1", 0, {}, none);
  for (const auto& [address, port] :
       {std::pair<std::string, int>{"127.0.0.1", first.port()}, {"203.0.113.7", 0}, {"nowhere", 0}}) {
    try {
      const HttpServer second(io, address, port, {}, none);
      ADD_FAILURE() << address;
    } catch (const Fault& e) {
      EXPECT_EQ(e.fault_class(), FaultClass::configuration);
      EXPECT_THAT(e.what(), StartsWith("http: cannot listen on " + address));
    }
  }
}

TEST(HttpServer, Loopback) {
  EXPECT_TRUE(is_loopback("127.0.0.1"));
  EXPECT_TRUE(is_loopback("127.9.9.9"));
  EXPECT_TRUE(is_loopback("::1"));
  EXPECT_FALSE(is_loopback("0.0.0.0"));
  EXPECT_FALSE(is_loopback("::"));
  EXPECT_FALSE(is_loopback("localhost"));
}

}  // namespace
}  // namespace regfeatd::daemon
