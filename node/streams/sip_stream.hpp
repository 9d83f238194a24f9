#pragma once
// SIP on one TCP, TLS or link connection: framing, keep-alives, and who waits for it to open. The worker's thread only.
#include "node/io/loop.hpp"
#include "node/io/tcp_stream.hpp"
#include "sip/flow.hpp"
#include "sip/message/framer.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

class sip_stream;

// Port: the pool. A stream must not be destroyed inside a call.
class sip_stream_user {
public:
  // Before the first message; may call refuse().
  virtual void on_sip_open(sip_stream& s) = 0;
  virtual void on_sip_message(sip_stream& s, std::string bytes) = 0;
  virtual void on_sip_closed(sip_stream& s, bool was_open, std::string_view why) = 0; // once, the last call

protected:
  ~sip_stream_user() = default;
};

inline constexpr std::size_t stream_waiters_max = 10'000; // callers that wait for one connection to open

class sip_stream final : tcp_stream_user {
public:
  using opened = std::move_only_function<void(std::optional<sip::flow>)>;

  sip_stream(loop& on, const sip::flow& f, sip_stream_user& user);
  ~sip_stream();

  tcp_stream_user& events() { return *this; } // for making the tcp_stream
  void attach(std::unique_ptr<tcp_stream> stream); // and begin
  bool send(std::string_view bytes); // false: gone
  // Called with the flow once it is open, or nullopt when that failed; at once where it is decided.
  void when_open(opened done);
  void give_up(std::string_view why); // closes, and reports

  const sip::arrival& facts() const { return facts_; } // .at is the last message's
  tls_engine* tls() { return stream_->tls(); }
  void set_peer(const node_id& id) { facts_.peer = id; }
  void set_certified(std::shared_ptr<const sip::certified_names> who) { facts_.certified = std::move(who); }
  const node_id& called() const { return called_; }
  void set_called(const node_id& id) { called_ = id; }
  const std::string& target_key() const { return target_key_; }
  void set_target_key(std::string key) { target_key_ = std::move(key); }
  // Outbound: opened to a trusted peer's name.
  bool to_trusted_peer() const { return to_trusted_peer_; }
  void set_to_trusted_peer() { to_trusted_peer_ = true; }
  // How the pool counts it against its source.
  enum class counted : std::uint8_t { not_at_all, silent, spoken };
  counted counts_as() const { return counts_as_; }
  void count_as(counted c) { counts_as_ = c; }
  bool idle(mono_time now, duration first_message, duration limit) const;

private:
  void on_stream_open() override;
  void on_stream_bytes(std::string_view plain) override;
  void on_stream_closed(std::string_view why) override;
  void opened_now();
  void ended(std::string_view why);
  bool take(sip::frame f); // false: stop reading

  loop& loop_;
  sip_stream_user& user_;
  sip::arrival facts_;
  std::unique_ptr<tcp_stream> stream_;
  sip::stream_framer framer_;
  std::vector<opened> waiting_;
  node_id called_;          // outbound links: who has to be at the other end
  std::string target_key_;  // outbound: for finding it again
  mono_time last_read_;
  counted counts_as_ = counted::not_at_all;
  bool open_ = false, ended_ = false, any_message_ = false, to_trusted_peer_ = false;
};

} // namespace skald::node
