#pragma once
// Port: a slow, small directory of signed records (record.hpp), for those whom gossip has not reached. Cluster thread.
#include "base/errors.hpp"
#include "base/ids.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace skald::dht {

class directory {
public:
  using found = std::function<void(std::string_view record)>;
  virtual ~directory() = default;
  // Puts this node's own record there, and keeps it there; a later call replaces it.
  virtual void publish(std::string record) = 0;
  // Calls `f` for each record that is there, on the cluster thread, duplicates and old versions included.
  virtual void read(found f) = 0;
};

} // namespace skald::dht
