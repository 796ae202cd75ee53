#include "wire_proxy.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace regfeatd::test {
namespace {

std::string value_of(const std::string& conninfo, const std::string& key) {
  const std::size_t at = conninfo.find(key + '=') + key.size() + 1;
  return conninfo.substr(at, conninfo.find(' ', at) - at);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.size() >= sizeof a.sun_path) throw std::runtime_error("socket path is too long: " + path);
  std::memcpy(a.sun_path, path.c_str(), path.size() + 1);
  return a;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

std::uint32_t big_endian(const char* p) {
  std::uint32_t v = 0;
  for (int i = 0; i < 4; ++i) v = v << 8 | static_cast<unsigned char>(p[i]);
  return v;
}

/// Cuts a stream of the frontend/backend protocol into messages (PostgreSQL documentation, chapter 55).
class Messages {
 public:
  explicit Messages(bool starts_with_startup) : untyped_(starts_with_startup) {}
  void add(std::string_view bytes) { buffer_ += bytes; }
  /// The next whole message, or "".
  std::string next() {
    const std::size_t head = untyped_ ? 4 : 5;
    if (buffer_.size() < head) return {};
    const std::size_t size = big_endian(buffer_.data() + head - 4) + head - 4;
    if (buffer_.size() < size) return {};
    std::string message = buffer_.substr(0, size);
    buffer_.erase(0, size);
    untyped_ = false;
    return message;
  }

 private:
  std::string buffer_;
  bool untyped_;
};

std::string application_name(const std::string& startup) {
  const std::string key = std::string("application_name") + '\0';
  const std::size_t at = startup.find(key);
  return at == std::string::npos ? "" : std::string(startup.c_str() + at + key.size());
}

}  // namespace

WireProxy::WireProxy(const std::string& server, std::function<CommitFate(const std::string&)> decide)
    : decide_(std::move(decide)) {
  std::string pattern = (std::filesystem::temp_directory_path() / "proxy-XXXXXX").string();
  folder_ = mkdtemp(pattern.data());
  const std::string host = value_of(server, "host");
  const std::string name = "/.s.PGSQL." + value_of(server, "port");
  server_socket_ = host + name;
  conninfo_ = server;
  conninfo_.replace(conninfo_.find(host), host.size(), folder_.string());
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un a = address_of(folder_.string() + name);
  if (bind(listener_, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0 || listen(listener_, 64) != 0)
    throw std::runtime_error("cannot listen on " + std::string(a.sun_path));
  acceptor_ = std::jthread([this](const std::stop_token& stop) { accept_loop(stop); });
}

WireProxy::~WireProxy() {
  acceptor_.request_stop();
  acceptor_.join();
  std::vector<std::jthread> relays;
  {
    const MutexLock lock(mutex_);
    relays.swap(relays_);
  }
  relays.clear();  // asks them to stop, and joins
  const MutexLock lock(mutex_);
  for (const int fd : left_open_) close(fd);
  close(listener_);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void WireProxy::accept_loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    pollfd p{listener_, POLLIN, 0};
    if (poll(&p, 1, 50) <= 0) continue;
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    const MutexLock lock(mutex_);
    relays_.emplace_back([this, client](const std::stop_token& s) { relay(client, s); });
  }
}

void WireProxy::relay(int client, const std::stop_token& stop) {
  const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un a = address_of(server_socket_);
  bool open = connect(server, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
  bool leave_server_open = false;
  bool swallow_reply = false;
  std::string application;
  Messages from_client(true), from_server(false);
  std::array<char, 65536> buffer{};
  std::array<pollfd, 2> fds{{{client, POLLIN, 0}, {server, POLLIN, 0}}};
  while (open && !stop.stop_requested()) {
    if (poll(fds.data(), fds.size(), 50) <= 0) continue;
    if (fds[1].revents != 0) {
      const ssize_t n = recv(server, buffer.data(), buffer.size(), 0);
      if (n <= 0) break;
      const std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
      if (swallow_reply) {
        from_server.add(bytes);
        for (std::string m = from_server.next(); !m.empty(); m = from_server.next())
          open = open && m[0] != 'Z';  // ready again: it has committed
        continue;
      }
      open = send_all(client, bytes);
    }
    if (open && fds[0].revents != 0) {
      const ssize_t n = recv(client, buffer.data(), buffer.size(), 0);
      if (n <= 0) break;
      from_client.add({buffer.data(), static_cast<std::size_t>(n)});
      for (std::string m = from_client.next(); open && !m.empty(); m = from_client.next()) {
        if (application.empty()) application = application_name(m);
        const CommitFate fate = m[0] == 'Q' && std::string_view(m).substr(5).starts_with("COMMIT")
                                    ? decide_(application)
                                    : CommitFate::pass;
        if (fate == CommitFate::lose_request) {
          ++requests_lost_;
          leave_server_open = true;
          open = false;
          break;
        }
        if (fate == CommitFate::lose_reply) {
          ++replies_lost_;
          swallow_reply = true;
        }
        open = send_all(server, m);
      }
    }
  }
  close(client);
  if (leave_server_open) {
    const MutexLock lock(mutex_);
    left_open_.push_back(server);
  } else {
    close(server);
  }
}

}  // namespace regfeatd::test
