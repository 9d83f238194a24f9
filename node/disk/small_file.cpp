#include "node/disk/small_file.hpp"

#include "base/log.hpp"
#include "node/disk/state_dir.hpp"

#include <filesystem>
#include <unistd.h>

namespace skald::node {

outcome<void> small_file::save(std::string_view content) { return write_file(path_, content); }

outcome<std::string> small_file::load() {
  std::error_code why;
  const auto size = std::filesystem::file_size(path_, why);
  if (why == std::errc::no_such_file_or_directory) return std::string{};
  if (!why && size > small_file_bytes_max) {
    log::error("store", path_ + " is too large for what it should be, and is left out");
    return std::string{};
  }
  return read_file(path_);
}

} // namespace skald::node
