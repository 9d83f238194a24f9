#pragma once
// File helpers of the CA's directory. Errors are sentences for the operator.
#include "base/errors.hpp"

#include <string>
#include <string_view>

#include <sys/types.h>

namespace skald::certs {

// Fails if `path` exists. Synced to disk before it returns.
outcome<void> write_new_file(const std::string& path, std::string_view text, mode_t mode);
// Swaps the content in one step.
outcome<void> replace_file(const std::string& path, std::string_view text, mode_t mode);
outcome<std::string> read_file(const std::string& path);
bool file_exists(const std::string& path);

// An exclusive flock on `path` while it lives: two issuers at once would both make the founder.
class file_lock {
public:
  explicit file_lock(const std::string& path);
  ~file_lock();
  file_lock(const file_lock&) = delete;
  file_lock& operator=(const file_lock&) = delete;

private:
  int fd_;
};

} // namespace skald::certs
