#pragma once
// dht::state_file in a file of its own: written beside, synced, renamed.
#include "dht/store/ports.hpp"

#include <string>

namespace skald::node {

inline constexpr std::size_t small_file_bytes_max = 64 << 20;

class small_file final : public dht::state_file {
public:
  explicit small_file(std::string path) : path_(std::move(path)) {}
  outcome<void> save(std::string_view content) override;
  outcome<std::string> load() override;

private:
  std::string path_;
};

} // namespace skald::node
