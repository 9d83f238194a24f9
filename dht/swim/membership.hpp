#pragma once
// Who is alive: SWIM with ring neighbours (ring-and-membership part B, consistency.md §6). No I/O and no clock of its own:
// datagrams, frames and the time come in; datagrams, frames, views and the next deadline go out.
//
// One thread, the cluster thread; every callback is made on it, from within a call. A callback may call back in.
#include "base/rng.hpp"
#include "dht/link/channel.hpp"
#include "dht/swim/base_keeper.hpp"
#include "dht/swim/cluster_clock.hpp"
#include "dht/swim/damping.hpp"
#include "dht/swim/local_health.hpp"
#include "dht/swim/member_table.hpp"
#include "dht/swim/profile.hpp"
#include "dht/swim/rumour_queue.hpp"
#include "dht/swim/wire.hpp"

#include <deque>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace skald::dht {

// Port: the gossip channel of the mesh. Unreliable, unordered; each datagram is framed (type, version) and comes from a
// peer whose certificate was verified. Sending to a member without a session may open one, and may lose the datagram.
class datagrams {
public:
  virtual ~datagrams() = default;
  virtual void send(const node_id& to, std::string bytes) = 0;
};

// What membership tells the node.
class membership_observer {
public:
  virtual ~membership_observer() = default;
  // At most once per call into membership, after all that the call changed. A changed suspicion is a change.
  virtual void on_view(view_ptr v) = 0;
  // The body of this version is not known: fetch it (body_request over a link to the member itself, or the directory) and
  // call body_known. Asked again every ten heartbeats while it is missing.
  virtual void on_body_wanted(const node_id& member, std::uint64_t version) = 0;
  // This node was held for dead and has taken a new life: its partitions are unsettled (consistency.md §4). It comes back
  // in the state it had or, if it was removed too often (B5), as joining until this has passed.
  virtual void on_self_removed(std::uint64_t new_life, duration joining_for) = 0;
  // This node's view may be stale (it slept, or was removed): no write and no firm answer, no keeper's action, until a
  // peer has shown it an equal stamp in a two-way exchange (consistency.md §7).
  virtual void on_stale(bool stale) = 0;
  // A life of this node's own id is going on that this process did not begin: a predecessor of it, or another process with
  // the same bundle (consistency.md §7). Find out by the record of that body version, and call contest_over() if nobody
  // answers there, or this process is the one that stays. Without a word the next life is taken after contest_patience.
  virtual void on_contested(std::uint64_t body_version) { static_cast<void>(body_version); }
  // The base is another one: to be counted by, and to be on disk before the next start (consistency.md §7).
  virtual void on_base(const base& b) { static_cast<void>(b); }
};

inline constexpr duration bodies_gather = milliseconds(5);
inline constexpr duration contest_patience = seconds(3);
inline constexpr duration returned_lately = seconds(30); // for so long after a cut its removals are seen together

struct membership_config {
  node_id self;
  profile timing = lan_profile();
  member_body body;              // this node's own; version > 0
  std::uint64_t known_life = 0;  // from disk: the new life is above it
  member_state begin = member_state::joining; // a founder that begins alone: active
  base known_base{};             // from disk
};

class membership {
public:
  // The ports and `clock` must outlive it. `clock` is read for wall() only.
  membership(membership_config c, datagrams& d, link_port& links, membership_observer& o, const clock& wall, rng& random,
             mono_time now);

  // --- what arrives -------------------------------------------------------------------------------------------------
  // After a wait, hand in all datagrams that are there before tick(): what slept must hear before it judges.
  void receive(const node_id& from, std::string_view datagram, mono_time now);
  // members_exchange, members_reply, link_ping, link_pong; others are ignored.
  void on_frame(const node_id& from, const frame& f, mono_time now);
  void tick(mono_time now);
  mono_time next_deadline() const;

  // --- what the node wants ------------------------------------------------------------------------------------------
  // A mesh session to this node exists: ask it who is there. Repeated until one of the contacts has answered.
  void contact(const node_id& peer, mono_time now);
  // Some member has answered with its list; and, where any serve, this node has the time of one of those (§5).
  bool joined() const { return joined_ && (timed_ || !others_serve()); }
  void set_state(member_state s, mono_time now); // joining, active, draining
  member_state state() const { return self_->known.state; }
  // Told to everybody at once; keep ticking for a second so that losses are mended, then stop.
  void leave(mono_time now);
  // The cluster's profile changed while it runs. Nodes may differ for the seconds that the setting takes to be known.
  void set_timing(const profile& p, mono_time now);
  void set_body(member_body b, mono_time now); // own; version above the last one
  // Told with the next view, at most bodies_gather later: a joiner of a large cluster learns a thousand at once.
  void body_known(const node_id& member, const member_body& b, mono_time now);
  // Facts from elsewhere (the directory, a peer file): living members are taken up, deaths are hearsay.
  void merge(std::span<const fact> facts, mono_time now);
  // That member acts on another view (a write or a request met another owner): exchange lists now, unless one just was.
  void compare_views(const node_id& peer, mono_time now);
  // The kernel says that a process is gone (reset, port unreachable): probe it at once, nothing more (B4).
  void peer_hint(const node_id& peer, mono_time now);
  // Its certificate was revoked: out of the view, and never heard again.
  void revoke(const node_id& peer, mono_time now);

  // Of a contested life: take the next one.
  void contest_over(mono_time now);
  // `skald base --accept`: whoever is here is the base from now on, though more than half of the old one is gone.
  void accept_base(mono_time now);

  // --- what is known ------------------------------------------------------------------------------------------------
  view_ptr current() const { return view_; }
  std::uint64_t life() const { return self_->known.self.life; }
  bool stale() const { return stale_; }
  // Till then its view is confirmed, if it gets no turn before: who sleeps longer than `silence` may have been removed.
  mono_time sure_until() const { return stale_ ? never : last_turn_ + config_.timing.silence; }
  duration damped_for(mono_time now) const { return wanted_state_ && damped_until_ > now ? damped_until_ - now : duration::zero(); }
  const base_keeper& base_known() const { return base_; }
  const cluster_clock& time() const { return time_; } // time() and deviation() of it: any thread
  std::vector<fact> facts() const;                    // of the living, for the peer file

private:
  // membership.cpp: state, view, publication
  enum class removal : std::uint8_t { held_for_dead, contested };
  void want_body(const node_id& member);
  void take_life(std::uint64_t above, removal why, mono_time now);
  void contest(const fact& f, mono_time now);
  bool is_own_version(std::uint64_t version) const { return version >= first_version_ && version <= self_->known.version; }
  void change_self(const fact& f, mono_time now);
  void news(peer& p, mono_time now);
  void adopt(peer& p, const fact& f, mono_time now);
  peer* take_up(const fact& f, mono_time now);
  void set_stale(bool stale);
  void base_changed();
  void publish();
  view_ptr make_view() const;

  // membership_receive.cpp: what others say
  peer* heard_from(const node_id& from, mono_time now);
  void handle(peer& p, mono_time now);
  void on_ack(peer& p, mono_time now);
  void on_relayed(mono_time now);
  void take_rumour(peer& from, const rumour& r, mono_time now);
  void take_death(peer& subject, const rumour& r, accuser who, mono_time now);
  void about_self(const rumour& r, mono_time now);
  bool cut_off_from_others(mono_time now) const;
  void hearsay(peer& subject, const fact& death, mono_time now);
  void merge_list(const members_list& l, const node_id* from, mono_time now);
  void merge_one(const fact& f, mono_time now);
  void compare_digest(peer& p, mono_time now);
  void compare_base(peer& p, mono_time now);
  void begin_exchange(const node_id& with, mono_time now);
  void take_time(const members_list& l, const node_id& from, mono_time now);
  bool others_serve() const;
  void ask_for_time(mono_time now);
  void ask_for_list(const node_id& to, mono_time now);
  void send_list(const node_id& to, frame_type type, std::uint64_t asked);

  // membership_watch.cpp: heartbeats, probes, suspicion
  void alive(peer& p, mono_time now);
  void accuse(peer& p, accuser who, mono_time now);
  void remove(peer& p, mono_time now);
  void start_probe(peer& p, probe::kind why, mono_time now);
  void stop_probe(peer& p);
  void next_question(peer& p, mono_time now);
  void ask_everywhere(peer& p);
  void verdict(peer& p, mono_time now);
  void find_neighbours(mono_time now);
  void look_for_silence(mono_time now);
  void judge_suspects(mono_time now);
  void beat(mono_time now);
  void sweep(mono_time now);

  // membership_timers.cpp
  void wake(mono_time now);
  void shift(duration slept, mono_time now);
  void push_rumours(mono_time now);
  void probe_at_random(mono_time now);
  void ping_the_dead(mono_time now);
  void forget_the_old(mono_time now);
  void housekeeping(mono_time now);

  swim_message& compose(swim_kind kind);
  void send(const peer& to);
  void ping(peer& p, std::uint32_t sequence, const node_id& on_behalf_of = {});
  accuser me() const { return config_.self.head(); }
  // A number for a moment, that an answer says again; never 0.
  static std::uint64_t moment(mono_time t) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(t.time_since_epoch()).count()) + 1;
  }
  bool is_self(const peer& p) const { return &p == self_; }

  membership_config config_;
  datagrams& datagrams_;
  link_port& links_;
  membership_observer& observer_;
  const clock& wall_;
  rng& rng_;

  member_table table_;
  peer* self_;
  rumour_queue rumours_;
  local_health health_;
  damping damping_;
  cluster_clock time_;
  base_keeper base_;
  std::set<node_id> revoked_; // grows with the CRL only
  std::set<node_id> contacts_;

  std::vector<peer*> neighbours_, probes_, picked_;
  std::deque<mono_time> deaths_; // recent ones, for the sweep
  swim_message in_, out_;
  std::uint32_t sequence_ = 0;
  std::uint32_t stale_since_ = 0; // while stale: the sequence when it began; only an answer to a later ping confirms the view

  mono_time started_, last_turn_;
  mono_time next_told_ = never; // this node's clock, in heartbeats
  mono_time next_beat_, next_silence_, next_random_, next_dead_, next_gossip_, next_housekeeping_;
  mono_time next_bodies_ = mono_time::max(); // a view with those that came
  mono_time forgotten_ = never;              // last look at whom to forget
  mono_time exchange_free_ = never; // no other full exchange is begun before
  std::uint64_t exchange_sent_ = 0; // the last one: an older peer's reply does not say which one it answers
  mono_time damped_until_ = never;
  mono_time alone_at_ = never; // last seen to be isolated
  std::optional<member_state> wanted_state_; // while damped
  int beats_ = 0;
  std::size_t largest_ = 1;
  bool joined_ = false, stale_ = false;
  bool timed_ = false; // cluster time is that of those who serve

  // Collected during a call, told at its end.
  bool changed_ = true, neighbours_changed_ = true, publishing_ = false, base_changed_ = false;
  std::optional<duration> removed_;
  std::uint64_t first_version_ = 0;      // of this process' bodies
  std::optional<fact> contested_;        // the life that is not ours
  mono_time contested_until_ = never;
  std::optional<std::uint64_t> contest_told_;
  std::vector<node_id> bodies_wanted_;
  bool bodies_missing_ = false; // of some member alive, perhaps
  std::optional<bool> stale_told_;
  view_ptr view_;
};

} // namespace skald::dht
