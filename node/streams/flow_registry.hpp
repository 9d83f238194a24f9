#pragma once
// The streams of this node that are open, on whichever worker: what a token's flow is checked against. Any thread.
#include "base/guarded.hpp"
#include "sip/flow.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <unordered_map>

namespace skald::node {

class flow_registry {
public:
  // `first` is random: a token made before a restart should not find another connection under its number.
  void seed(std::uint32_t first) { next_ = first; }
  std::uint32_t new_serial() {
    std::uint32_t s = next_.fetch_add(1, std::memory_order_relaxed);
    return s != 0 ? s : next_.fetch_add(1, std::memory_order_relaxed);
  }

  void add(const sip::flow& f) {
    stripe(f.serial).with([&](map& m) { m[f.serial] = f; });
  }
  void remove(const sip::flow& f) {
    stripe(f.serial).with([&](map& m) { m.erase(f.serial); });
  }
  // The open flow with this serial, if it is the same connection: worker, transport and remote address fit.
  bool has(const sip::flow& f) const {
    return stripe(f.serial).with([&](const map& m) {
      const auto it = m.find(f.serial);
      return it != m.end() && it->second.transport == f.transport && it->second.worker == f.worker &&
             it->second.remote == f.remote;
    });
  }

private:
  using map = std::unordered_map<std::uint32_t, sip::flow>;
  guarded<map>& stripe(std::uint32_t serial) { return stripes_[serial % stripes_.size()]; }
  const guarded<map>& stripe(std::uint32_t serial) const { return stripes_[serial % stripes_.size()]; }

  std::array<guarded<map>, 32> stripes_;
  std::atomic<std::uint32_t> next_{1};
};

} // namespace skald::node
