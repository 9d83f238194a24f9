#include "certs/files.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace skald::certs {
namespace {

std::unexpected<failure> failed(const std::string& path, const char* doing) {
  return std::unexpected(failure{path + ": cannot be " + doing + ": " + std::strerror(errno)});
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return ::fsync(fd) == 0;
}

outcome<void> write_with(const std::string& path, std::string_view text, mode_t mode, int flags) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);
  if (fd < 0) {
    if (errno == EEXIST) return std::unexpected(failure{path + ": is there already, and is not overwritten"});
    return failed(path, "written");
  }
  // The umask may only have taken away; a private key's mode is what was asked for, no more and no less.
  const bool good = ::fchmod(fd, mode) == 0 && write_all(fd, text);
  const int why = errno;
  ::close(fd);
  if (good) return {};
  errno = why;
  auto error = failed(path, "written");
  ::unlink(path.c_str());
  return error;
}

} // namespace

outcome<void> write_new_file(const std::string& path, std::string_view text, mode_t mode) {
  return write_with(path, text, mode, O_EXCL);
}

outcome<void> replace_file(const std::string& path, std::string_view text, mode_t mode) {
  const std::string fresh = path + ".new";
  if (auto written = write_with(fresh, text, mode, O_TRUNC); !written) return written;
  if (::rename(fresh.c_str(), path.c_str()) != 0) return failed(path, "replaced");
  return {};
}

outcome<std::string> read_file(const std::string& path) {
  constexpr std::size_t bytes_max = 4 << 20;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed(path, "read");
  std::string out;
  char buffer[4096];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0 && out.size() < bytes_max) out.append(buffer, static_cast<std::size_t>(n));
  const int why = errno;
  ::close(fd);
  errno = why;
  if (n < 0) return failed(path, "read");
  return out;
}

bool file_exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

file_lock::file_lock(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  while (fd_ >= 0 && ::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

file_lock::~file_lock() {
  if (fd_ >= 0) ::close(fd_);
}

} // namespace skald::certs
