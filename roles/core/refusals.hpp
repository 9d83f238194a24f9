// Which requests were refused for overload, without a transaction (RFC 3261 §8.2.7 lets a UAS be stateless). The same
// request sent again has to hear the same: whoever has its final answer no longer waits for another, and would be rung for
// nothing.
#pragma once
#include "base/clock.hpp"
#include "sip/message/message.hpp"

#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace skald::roles {

inline constexpr std::size_t refusals_max = 16384;            // remembered, at most twice as many; then the oldest go
inline constexpr duration refusal_remembered = seconds(32);   // at least: 64 * T1, as long as a request is sent again

// One thread.
class refusals {
public:
  void note(const sip::message& request, mono_time now) {
    turn(now);
    young_.insert(key_of(request));
  }
  // Whether this request, and not only one like it, was refused a while ago.
  bool has(const sip::message& request, mono_time now) {
    if (young_.empty() && old_.empty()) return false;
    turn(now);
    const std::uint64_t key = key_of(request);
    return young_.contains(key) || old_.contains(key);
  }

private:
  // Two halves: the older one is forgotten whole.
  void turn(mono_time now) {
    if (now - begun_ < refusal_remembered && young_.size() < refusals_max) return;
    if (now - begun_ >= 2 * refusal_remembered) young_.clear();
    old_ = std::exchange(young_, {});
    begun_ = now;
  }
  // RFC 3261 §17.2.3: the branch, who sent it, and the method; what was stamped there besides is the same each time.
  static std::uint64_t key_of(const sip::message& request) {
    const std::hash<std::string_view> hash;
    return hash(request.first(sip::header::via).value_or("")) ^ (static_cast<std::uint64_t>(request.method_id()) * 0x9e3779b97f4a7c15);
  }

  std::unordered_set<std::uint64_t> young_, old_;
  mono_time begun_{};
};

} // namespace skald::roles
