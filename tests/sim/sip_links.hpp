#pragma once
// The `sip/2` links of a simulated process: what node/streams/stream_pool does over TLS for them, over the simulated streams. The
// framing is the production one.
#include "base/ids.hpp"
#include "sip/flow.hpp"
#include "sip/message/framer.hpp"
#include "tests/sim/network.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::sim {

class sip_link_user {
public:
  virtual void on_link_message(std::string bytes, const sip::arrival& from) = 0;
  virtual void on_link_gone(const sip::flow& f) = 0;

protected:
  ~sip_link_user() = default;
};

class sip_links {
public:
  using opened = std::move_only_function<void(std::optional<sip::flow>)>;
  struct surroundings {
    network& net;
    machine_id self;
    const clock& time;
    std::function<std::optional<machine_id>(const node_id&)> where_is;
    std::function<node_id(machine_id)> id_of; // whom the certificate at a machine names
    std::function<endpoint(machine_id)> address_of;
  };
  sip_links(surroundings around, sip_link_user& user) : around_(std::move(around)), user_(user) {}

  void open(const node_id& to, opened done); // an open one, or a new call
  bool send(const sip::flow& f, std::string_view bytes);
  bool has(const sip::flow& f) const;
  void drop(const node_id& peer); // it is dead
  const sip::arrival* find(const sip::flow& f) const; // null: gone

  // From the network; false: the stream is not one of these.
  bool on_stream_open(stream_id s, machine_id peer, bool outbound);
  bool on_stream_bytes(stream_id s, std::string_view bytes);
  bool on_stream_closed(stream_id s);

private:
  struct session {
    sip::arrival facts;
    node_id called; // zero: it called us
    bool open = false;
    sip::stream_framer framer;
    std::vector<opened> waiting;
  };
  sip::flow flow_of(stream_id s, machine_id peer) const;

  surroundings around_;
  sip_link_user& user_;
  std::map<stream_id, session> sessions_;
  std::map<node_id, stream_id> called_;
};

} // namespace skald::sim
