#include "file_io.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "regfeatd/base/fault.hpp"
#include "usage_error.hpp"

namespace regfeatd::cli {
namespace {

/// A pipe of the default 64 KiB makes both ends wait for each other. Best effort: the system has its own
/// limit.
constexpr int kPipeBytes = 1 << 20;

void widen_pipe(int fd) noexcept { (void)::fcntl(fd, F_SETPIPE_SZ, kPipeBytes); }

std::string reason() { return std::strerror(errno); }

FileDescriptor open_input(const std::string& path) {
  if (path == "-") return FileDescriptor{STDIN_FILENO, false};
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw UsageError("cannot open " + path + ": " + reason());
  return FileDescriptor{fd};
}

FileDescriptor open_output(const std::string& path) {
  if (path.empty() || path == "-") return FileDescriptor{STDOUT_FILENO, false};
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) throw UsageError("cannot write " + path + ": " + reason());
  return FileDescriptor{fd};
}

bool is_regular_or_new(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode);
}

}  // namespace

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), owned_(std::exchange(other.owned_, false)) {}

FileDescriptor::~FileDescriptor() { (void)close(); }

bool FileDescriptor::close() noexcept {
  const int fd = std::exchange(fd_, -1);
  return fd < 0 || !owned_ || ::close(fd) == 0;
}

// -- InputFile

InputFile::InputFile(const std::string& path) : name_(path == "-" ? "stdin" : path), fd_(open_input(path)) {
  struct stat status {};
  if (::fstat(fd_.get(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) throw UsageError("cannot read " + name_ + ": it is a directory");
    if (S_ISREG(status.st_mode)) size_ = static_cast<std::uint64_t>(status.st_size);
    if (S_ISFIFO(status.st_mode)) widen_pipe(fd_.get());
  }
}

std::size_t InputFile::read(char* to, std::size_t size) {
  for (;;) {
    const ssize_t got = ::read(fd_.get(), to, size);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) throw Fault(FaultClass::partition, "cannot read " + name_ + ": " + reason());
  }
}

bool InputFile::ready() const noexcept {
  if (size_) return true;
  pollfd p{fd_.get(), POLLIN, 0};
  return ::poll(&p, 1, 0) != 0;
}

// -- OutputFile

OutputFile::OutputFile(const std::string& path)
    : name_(path.empty() || path == "-" ? "stdout" : path),
      path_(name_ == path && is_regular_or_new(path) ? path : ""),
      part_(path_.empty() ? "" : path_ + ".part"),
      fd_(open_output(part_.empty() ? path : part_)) {
  widen_pipe(fd_.get());
}

OutputFile::~OutputFile() {
  if (!part_.empty()) (void)::unlink(part_.c_str());
}

void OutputFile::fail(const char* step) const {
  throw Fault(FaultClass::partition, std::string("cannot ") + step + " " + name_ + ": " + reason());
}

bool OutputFile::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd_.get(), text.data(), text.size());
    if (put >= 0) {
      text.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EPIPE) {
      return false;
    } else if (errno != EINTR) {
      fail("write");
    }
  }
  return true;
}

void OutputFile::finish() {
  if (path_.empty()) return;
  if (::fsync(fd_.get()) != 0 || !fd_.close()) fail("write");
  if (::rename(part_.c_str(), path_.c_str()) != 0) fail("rename the finished file to");
  part_.clear();
}

}  // namespace regfeatd::cli
