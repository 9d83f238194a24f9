#pragma once
// Our Via (RFC 3261 §16.6 step 8): the branch names the worker and carries RFC 5393's loop hash. One per worker.
#include "roles/core/names.hpp"
#include "roles/core/ports.hpp"
#include "sip/message/message.hpp"

#include <cstdint>

namespace skald::roles {

class via_writer {
public:
  explicit via_writer(worker_env& env) : env_(env), serial_(env.random.next()) {}
  // Puts our Via on a request that is to leave on that flow.
  void put(sip::message& request, const sip::flow& flow, std::uint32_t loop_hash, const name_index& names);

private:
  worker_env& env_;
  std::uint64_t serial_; // starts anywhere, or a restart would repeat branches
};

} // namespace skald::roles
