#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace regfeatd::cli {


/// A file descriptor that closes itself.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd, bool owned = true) : fd_(fd), owned_(owned) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor();

  [[nodiscard]] int get() const noexcept { return fd_; }
  /// Closes now; false with errno set when the system reports an error only here.
  [[nodiscard]] bool close() noexcept;

 private:
  int fd_ = -1;
  bool owned_ = false;
};

/// A file to read, or standard input for `-`.
class InputFile {
 public:
  /// Throws UsageError when it cannot be opened.
  explicit InputFile(const std::string& path);

  /// Up to `size` bytes; 0 at the end. Throws Fault.
  [[nodiscard]] std::size_t read(char* to, std::size_t size);
  /// Whether `read` would return at once.
  [[nodiscard]] bool ready() const noexcept;
  /// For messages: the path, or `stdin`.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Bytes of a regular file.
  [[nodiscard]] std::optional<std::uint64_t> size() const noexcept { return size_; }

 private:
  std::string name_;
  FileDescriptor fd_;
  std::optional<std::uint64_t> size_;
};

/// Standard output for an empty path or `-`; otherwise a file that appears under its name only when it is complete:
/// it is written as `PATH.part` and renamed by `finish`. What is not a regular file (a pipe, a device) is written directly.
class OutputFile {
 public:
  /// Throws UsageError when it cannot be opened.
  explicit OutputFile(const std::string& path);
  /// Removes `PATH.part` when `finish` was not reached.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// False when nobody reads any more (a closed pipe). Throws Fault on any other failure.
  [[nodiscard]] bool write(std::string_view text);
  /// Everything is on its way to the disk, under its final name. Throws Fault.
  void finish();

 private:
  [[noreturn]] void fail(const char* step) const;

  std::string name_;  ///< for messages
  std::string path_;  ///< empty: written directly
  std::string part_;
  FileDescriptor fd_;
};

}  // namespace regfeatd::cli
