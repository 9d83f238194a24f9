#pragma once
// The legs of one worker: a leg is the client transaction towards one UA, or foreign server, on behalf of whoever waits
// for its answer (sip.md §6). It is on the wire once: a copy of the request that comes by another way (the owner before
// it died, the phone went to another edge) attaches and hears what was answered so far. One thread; waiters may sit on
// other workers of the node, and are told by their queues.
#include "base/clock.hpp"
#include "roles/core/names.hpp"
#include "roles/core/ports.hpp"
#include "roles/proxy/attempt.hpp"
#include "roles/proxy/leg_index.hpp"
#include "roles/proxy/via_writer.hpp"
#include "sip/transaction/layer.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::roles {

// ---- Named limits.
inline constexpr std::size_t legs_max = 200'000;           // a worker; above it a request goes without a leg's memory
inline constexpr std::size_t waiters_per_leg_max = 8;      // the oldest goes
inline constexpr std::size_t responses_per_leg_max = 16;   // provisional ones kept for who attaches later
inline constexpr seconds leg_memory{32};                   // after its transaction's end
inline constexpr seconds round_pause{5};                   // T4: a UA takes the same request for a merged one before (482)
inline constexpr std::uint32_t farewell_cseq_step = 100;   // above what the caller may have sent in the dialog meanwhile

enum class waiter_id : std::uint64_t { none = 0 }; // never used twice on this node

// Port: who waits. Called on the worker that called join(), maybe before join() returns.
class leg_user {
public:
  virtual ~leg_user() = default;
  // Our Via taken off; the Vias beneath are those of the copy that began the leg.
  virtual void on_leg_response(waiter_id who, sip::message response, const sip::arrival& from) = 0;
  virtual void on_leg_failure(waiter_id who, sip::client_failure why) = 0;
  virtual void on_leg_replaced(waiter_id who) = 0; // a newer copy waits instead, or nobody needs to: 487
  virtual void on_leg_ended(waiter_id who) = 0;    // nothing more will come; the id is dead
};

// What a request for a UA may do at its edge. A copy that only looks for the leg of the request before it begins none: that
// leg may be at another flow of the UA.
enum class leg_use : std::uint8_t { begin, attach };

struct leg_request {
  std::string attempt;
  leg_key key{}, ua{};
  std::uint64_t origin = 0; // the `in` transaction that this came from
  std::uint32_t turn = 0;   // of two copies of one origin the one with the higher turn is the later
  sip::message request;     // without our Via
  sip::flow flow;
  std::uint32_t loop_hash = 0;
  std::shared_ptr<const name_index> names;
  leg_use use = leg_use::begin;
};

class legs {
public:
  legs(worker_env& env, via_writer& vias, leg_index& index, leg_user& user);
  ~legs();
  void set_siblings(std::vector<legs*> all) { siblings_ = std::move(all); }

  waiter_id next_id();
  // Attaches to the leg of that key, wherever on this node it is, or begins it. leg_use::attach begins none: a failure then.
  void join(waiter_id who, leg_request r);
  // Whether a leg of that key is known on this node; by the time of join() it may be gone.
  bool known(const leg_key& k) const { return index_.find(k).has_value(); }
  // This waiter does not want it any more. When none does, an INVITE is cancelled, and a copy would start anew; what
  // still comes is told.
  void leave(waiter_id who, std::string_view reason);
  // Like leave(), and hears nothing more.
  void abandon(waiter_id who);
  // Nobody above this waiter is left to take a 2xx: when that is so for all, it is acknowledged and ended.
  void orphaned(waiter_id who, std::string_view reason);
  // From another node: an orphaned 2xx of that dialog. Nothing happens if its ACK has passed here.
  void end_unless_acknowledged(const sip::message& bye);

  // An ACK for a 2xx that goes out to a UA.
  void saw_ack(const sip::message& ack);

  // From the transaction layer; false: not a leg's.
  bool on_response(sip::client_id id, sip::message response, const sip::arrival& from);
  bool on_failure(sip::client_id id, sip::client_failure why);
  bool on_client_ended(sip::client_id id);

  std::size_t size() const { return by_serial_.size(); }
  // Adds the Call-IDs of INVITEs that have no final answer yet. O(legs).
  void unanswered(std::set<std::string>& call_ids) const;

private:
  struct waiter {
    waiter_id id = waiter_id::none;
    std::uint16_t worker = 0;
    std::uint64_t origin = 0;
    std::uint32_t turn = 0;
    bool left = false, orphaned = false;
  };
  struct leg;
  using leg_ptr = std::shared_ptr<leg>;

  void join_here(waiter who, leg_request r);
  void attach(const leg_ptr& l, waiter who);
  void begin(waiter who, leg_request r);
  void send(const leg_ptr& l);
  void leave_here(waiter_id who, const std::string& reason);
  void abandon_here(waiter_id who);
  void orphaned_here(waiter_id who, const std::string& reason);
  void ack_here(const leg_key& caller, const std::string& to_tag);
  void end_here(const leg_key& caller, const std::string& to_tag, const std::string& reason);
  void remember(const leg_ptr& l, const sip::message& response);
  void forget_key(leg& l);
  void forget(const leg_ptr& l);
  void drop(leg& l, waiter_id who);
  void nobody_waits(const leg_ptr& l, const std::string& reason);
  void settle_acks(const leg_ptr& l);
  void say_farewell(const leg_ptr& l, const std::string& to_tag, const std::string& reason);
  void farewell_to_all(const leg_ptr& l, const std::string& reason);
  leg_ptr leg_of(waiter_id who) const;
  std::vector<leg_ptr> legs_of_caller(const leg_key& caller) const;

  template <class What> void tell(const waiter& who, What what);
  template <class What> void at(std::uint16_t worker, What what);
  static std::uint16_t worker_of(waiter_id who) { return static_cast<std::uint16_t>(static_cast<std::uint64_t>(who) >> 48); }

  worker_env& env_;
  via_writer& vias_;
  leg_index& index_;
  leg_user& user_;
  std::vector<legs*> siblings_;
  std::uint64_t next_waiter_ = 0, next_serial_ = 0;
  std::unordered_map<std::uint64_t, leg_ptr> by_serial_;
  std::unordered_map<leg_key, leg_ptr, leg_key_hash> by_key_;
  std::unordered_map<sip::client_id, leg_ptr> by_client_;
  std::unordered_map<waiter_id, leg_ptr> by_waiter_;        // of all workers, on the leg's
  std::unordered_map<waiter_id, std::uint16_t> home_;       // of ours: which worker has the leg
  std::unordered_multimap<leg_key, leg_ptr, leg_key_hash> unacknowledged_; // by caller
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace skald::roles
