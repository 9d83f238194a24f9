#pragma once
// The directory: where a node that joins finds the others, and finds who it is that it found. Slow, small and believed
// only as far as signatures go; membership learns from it at the start, and from gossip ever after.
#include "base/endpoint.hpp"
#include "dht/view/view.hpp"

#include <functional>
#include <string>
#include <vector>

namespace skald::dht {

// A record that has been verified: signed by the key of `certificate`, which our CA signed; roles cut down.
struct directory_entry {
  node_id id;
  member_body body;
  std::string certificate; // DER
  std::vector<endpoint> overlay() const {
    std::vector<endpoint> out;
    for (const auto& ip : body.addresses) out.push_back({ip, body.overlay_port});
    return out;
  }
};

// Port. Called on the cluster thread; answers on the cluster thread, never from inside the call.
class directory {
public:
  virtual ~directory() = default;

  // This node's own body; a later call with a higher version takes the place of the earlier. Kept alive until the end.
  // A body of the same or a lower version changes nothing.
  virtual void publish(const member_body& own) = 0;

  // Reads all of it, once. `found`: each node's newest record, own one excepted; possibly again with a higher version.
  // `done` comes last, and always; false: part of it did not answer. Records may be minutes old.
  virtual void read(std::function<void(const directory_entry&)> found, std::function<void(bool complete)> done) = 0;
};

} // namespace skald::dht
