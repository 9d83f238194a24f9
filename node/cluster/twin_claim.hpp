#pragma once
// What two processes with one bundle tell each other when they meet, and which of them goes on (consistency.md §7,
// decision 24). Pure; the simulation has it as it is.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skald::node {

// In the order of what counts: one that has served stays before one that only joins, then the older process.
struct twin_claim {
  bool served = false;
  std::uint64_t born = 0;  // the first life of this process, a time in ms
  std::uint64_t nonce = 0; // chosen by each process at random
  std::uint64_t version = 0; // of its newest body, which is to be outdone

  std::string encode() const; // msgpack, positional
};

std::optional<twin_claim> read_twin_claim(std::string_view bytes); // nullopt: it says nothing of itself

// Whether this process goes on. Of one that says nothing of itself it is known only that it holds the key: it has ended, or
// is of another version. Who serves goes on serving.
bool stays(const twin_claim& mine, const std::optional<twin_claim>& theirs);

} // namespace skald::node
