#pragma once
// What the rooms of dht/ exchange with other nodes over the `skald/1` link: typed frames (design §10): u32 length, u8
// type, u8 version, positional msgpack array. The link layer is a port; node/ has the TLS behind it, tests a fake.
#include "base/ids.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::dht {

// Message types on links and on the gossip channel; append only. 1..15 link itself, 16..31 membership, 32..63 store,
// 64..79 directory and bodies, 80..95 control.
enum class frame_type : std::uint8_t {
  hello = 1,
  goodbye = 2,
  link_ping = 3,
  link_pong = 4,
  gossip = 16,          // a swim datagram (mesh) 
  members_exchange = 17, // full list of facts
  members_reply = 18,
  revocations = 19,     // a list that the CA signed, DER; on the gossip channel, too
  seen_elsewhere = 20,  // mesh only: "a node with your id is at this address, too"; the address as text
  store_write = 32,
  store_ack = 33,
  store_fetch = 34,
  store_records = 35,
  store_put = 36,
  store_put_done = 37,
  store_copy = 38,      // one page of a copy
  store_copy_done = 39, // the asker has merged it all
  store_copy_request = 40,
  store_compare = 41,   // a step of comparing digests with another holder, and its answer
  store_compared = 42,
  store_merge_please = 43, // "you may lack something of these"
  store_state = 44,     // whether all is merged, under which view
  body_request = 64,
  body_reply = 65,
  control_request = 80, // "what do you hold": the CLI's questions, passed on
  control_reply = 81,
};

struct frame {
  frame_type type{};
  std::uint8_t version = 1;
  std::string body; // msgpack
};
inline constexpr std::size_t frame_bytes_max = 4 << 20;

// Port: frames to another node. Called on the cluster thread. Opened when first needed and kept; frames to one node
// arrive in order or not at all; `send` false: refused at once (no such member, queue over its limit).
class link_port {
public:
  virtual ~link_port() = default;
  virtual bool send(const node_id& to, frame f) = 0;
};
// What the link layer calls, on the cluster thread.
class link_user {
public:
  virtual ~link_user() = default;
  virtual void on_frame(const node_id& from, frame f) = 0;
  virtual void on_link_up(const node_id& peer) = 0;
  virtual void on_link_down(const node_id& peer) = 0; // whatever was in flight is lost
};

} // namespace skald::dht
