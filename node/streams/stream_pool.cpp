#include "node/streams/stream_pool.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "base/source.hpp"
#include "node/io/graveyard.hpp"
#include "node/io/tcp_acceptor.hpp"
#include "node/streams/sip_stream.hpp"

#include <fmt/format.h>

#include <unordered_map>

namespace skald::node {
namespace {

constexpr std::string_view too_many_name = "skald_streams_refused_total";
constexpr std::string_view too_many_help = "Streams refused, by reason: the worker or the source has too many, or there is no memory.";
metrics::counter too_many(too_many_name, too_many_help, R"(reason="worker")");
metrics::counter too_many_of_source(too_many_name, too_many_help, R"(reason="source")");
metrics::counter too_many_silent(too_many_name, too_many_help, R"(reason="silent")");
metrics::counter no_memory(too_many_name, too_many_help, R"(reason="memory")");
metrics::gauge open_streams("skald_streams", "Open TCP and TLS connections and SIP links.");
metrics::counter peers_certified("skald_sip_peers_certified_total", "TLS connections whose peer showed a certificate that counts for trusted peers.");
constexpr std::string_view refused_name = "skald_sip_peer_certificates_refused_total";
constexpr std::string_view refused_help = "TLS connections of phones and peers whose certificate does not count, by reason; they go on as strangers'.";
metrics::counter unreadable(refused_name, refused_help, R"(reason="unreadable")");
metrics::counter own_cluster(refused_name, refused_help, R"(reason="own_cluster")");
metrics::counter untrusted(refused_name, refused_help, R"(reason="untrusted")");
metrics::counter expired(refused_name, refused_help, R"(reason="expired")");
metrics::counter wrong_usage(refused_name, refused_help, R"(reason="wrong_usage")");
metrics::counter nameless(refused_name, refused_help, R"(reason="nameless")");
constexpr duration sweep_interval = seconds(15);

metrics::counter& counter_of(certs::sip_refusal r) {
  switch (r) {
  case certs::sip_refusal::unreadable: return unreadable;
  case certs::sip_refusal::own_cluster: return own_cluster;
  case certs::sip_refusal::untrusted: return untrusted;
  case certs::sip_refusal::expired: return expired;
  case certs::sip_refusal::wrong_usage: return wrong_usage;
  case certs::sip_refusal::nameless: return nameless;
  }
  return untrusted;
}

void note_refused_peer(certs::sip_refusal r, const endpoint& from, const std::string& leaf) {
  counter_of(r).add();
  if (!log::enabled(log::level::debug)) return;
  log::debug("tls", fmt::format("the certificate that {} shows ({}) does not count for a peer: {}", from.text(),
                                fmt::join(certs::sip_identities(leaf), ", "), certs::to_string(r)));
}

ip_address source_for(const std::vector<ip_address>& sources, ip_family family) {
  for (const ip_address& a : sources)
    if (a.family == family) return a;
  return ip_address{family, {}};
}

std::string target_key(const sip::target& to) {
  // One that was opened before its name became a trusted peer's was judged by other rules: it is not that one.
  return fmt::format("{} {} {}{}", sip::param_name(to.transport), to.remote.text(), to.tls_name, to.trusted_peer ? " peer" : "");
}

} // namespace

// Connections are named by serial everywhere; one that ended is destroyed at the end of the turn, never in a call of its
// own.
struct stream_pool::impl final : sip_stream_user {
  impl(loop& on, std::uint16_t w, const stream_setup& s, flow_registry& l, stream_pool_user& u)
      : events(on), worker(w), setup(s), live(l), user(u), ended(on) {}

  loop& events;
  std::uint16_t worker;
  const stream_setup& setup;
  flow_registry& live;
  stream_pool_user& user;
  std::vector<ip_address> sources;
  std::vector<std::unique_ptr<tcp_acceptor>> acceptors;
  std::unordered_map<std::uint32_t, std::unique_ptr<sip_stream>> streams;
  std::unordered_map<node_id, std::uint32_t> links;       // outbound ones
  std::unordered_map<std::string, std::uint32_t> targets; // outbound TCP and TLS, by target_key()
  graveyard<sip_stream> ended;
  struct source_count {
    std::size_t all = 0, silent = 0;
  };
  std::unordered_map<ip_address, source_count> sources_of; // of accepted TCP and TLS connections; no more entries than those
  timer_id sweep_timer = timer_id::none;

  sip_stream* get(const sip::flow& f) const {
    const auto it = streams.find(f.serial);
    if (it == streams.end() || it->second->facts().flow.transport != f.transport) return nullptr;
    return it->second->facts().flow.remote == f.remote ? it->second.get() : nullptr;
  }
  sip_stream& make(sip::transport t) {
    const sip::flow f{.transport = t, .worker = worker, .serial = live.new_serial(), .local = {}, .remote = {}};
    open_streams.add(1);
    return *(streams[f.serial] = std::make_unique<sip_stream>(events, f, *this));
  }

  void accepted(owned_fd fd, sip::transport t);
  metrics::counter* over_limit(const ip_address& source);
  void uncount(const sip_stream& s);
  void certify(sip_stream& s);
  void dial(sip_stream& s, const endpoint& remote, std::unique_ptr<tls_engine> tls, keep_alive k);
  void sweep();

  // sip_stream_user
  void on_sip_open(sip_stream& s) override;
  void on_sip_message(sip_stream& s, std::string bytes) override;
  void on_sip_closed(sip_stream& s, bool was_open, std::string_view why) override;
};

// Who may not have one more: the counter that says why. nullptr: welcome.
metrics::counter* stream_pool::impl::over_limit(const ip_address& source) {
  if (streams.size() >= setup.limits.all) return &too_many;
  if (setup.memory_full && setup.memory_full()) return &no_memory;
  const auto it = sources_of.find(source);
  if (it == sources_of.end()) return nullptr;
  if (it->second.all >= setup.limits.source) return &too_many_of_source;
  return it->second.silent >= setup.limits.silent ? &too_many_silent : nullptr;
}

void stream_pool::impl::on_sip_message(sip_stream& s, std::string bytes) {
  if (s.counts_as() == sip_stream::counted::silent) {
    s.count_as(sip_stream::counted::spoken);
    --sources_of.at(source_of(s.facts().flow.remote.ip)).silent;
  }
  user.on_stream_message(std::move(bytes), s.facts());
}

void stream_pool::impl::uncount(const sip_stream& s) {
  if (s.counts_as() == sip_stream::counted::not_at_all) return;
  const auto it = sources_of.find(source_of(s.facts().flow.remote.ip));
  if (s.counts_as() == sip_stream::counted::silent) --it->second.silent;
  if (--it->second.all == 0) sources_of.erase(it);
}

void stream_pool::impl::accepted(owned_fd fd, sip::transport t) {
  const ip_address source = source_of(remote_endpoint(fd.get()).ip);
  if (metrics::counter* const why = over_limit(source)) return why->add();
  std::unique_ptr<tls_engine> tls;
  if (t == sip::transport::tls) {
    const auto credentials = setup.phones.get();
    if (!credentials) return;
    tls = std::make_unique<tls_engine>(credentials, tls_options{.end = tls_end::server, .alpn = {"sip/2"}});
  }
  sip_stream& s = make(t);
  auto stream = std::make_unique<tcp_stream>(events, tcp_stream::parts{std::move(fd), std::move(tls)}, s.events());
  if (source_of(stream->remote().ip) == source) { // not where it is gone already
    auto& count = sources_of[source];
    ++count.all, ++count.silent;
    s.count_as(sip_stream::counted::silent);
  }
  s.attach(std::move(stream));
}

void stream_pool::impl::dial(sip_stream& s, const endpoint& remote, std::unique_ptr<tls_engine> tls, keep_alive k) {
  s.attach(tcp_stream::connect(events, remote, source_for(sources, remote.ip.family), std::move(tls), s.events(), k));
}

void stream_pool::impl::on_sip_open(sip_stream& s) {
  if (s.facts().flow.transport == sip::transport::link && s.facts().peer.is_zero()) {
    const auto peer = setup.verify_peer ? setup.verify_peer(s.tls()->peer_chain()) : std::unexpected(link_refusal::other);
    const auto why = !peer ? std::optional(peer.error())
                           : peer->id != s.called() ? std::optional(link_refusal::wrong_node) : std::nullopt;
    if (why) {
      note_refused_link(*why, s.facts().flow.remote, "");
      return s.give_up(to_string(*why));
    }
    s.set_peer(peer->id);
  }
  if (s.facts().flow.transport == sip::transport::tls) certify(s);
  live.add(s.facts().flow);
}

// Who the peer is by its certificate, if it showed one that counts. That it did not ends nothing: phones have
// certificates of their makers, and are believed by their passwords.
void stream_pool::impl::certify(sip_stream& s) {
  const bool called = !s.target_key().empty();
  if (!setup.peers || (called && !s.to_trusted_peer())) return;
  const std::vector<std::string> chain = s.tls()->peer_chain();
  if (chain.empty()) return;
  auto who = setup.peers->judge(chain, called ? certs::sip_end::server : certs::sip_end::client);
  if (!who) return note_refused_peer(who.error(), s.facts().flow.remote, chain.front());
  peers_certified.add();
  s.set_certified(std::make_shared<sip::certified_names>(std::move(who->names), who->until));
}

void stream_pool::impl::on_sip_closed(sip_stream& s, bool was_open, std::string_view why) {
  const sip::arrival facts = s.facts();
  const auto it = streams.find(facts.flow.serial);
  if (it == streams.end()) return;
  uncount(*it->second);
  ended.bury(std::move(it->second));
  streams.erase(it);
  open_streams.add(-1);
  if (const auto l = links.find(s.called()); l != links.end() && l->second == facts.flow.serial) links.erase(l);
  if (const auto t = targets.find(s.target_key()); t != targets.end() && t->second == facts.flow.serial) targets.erase(t);
  if (facts.flow.transport == sip::transport::link && !was_open)
    log::debug("link", fmt::format("link to {} not opened: {}", facts.flow.remote.text(), why));
  if (!was_open) return;
  live.remove(facts.flow);
  user.on_stream_gone(facts.flow);
}

void stream_pool::impl::sweep() {
  std::vector<sip_stream*> idle;
  for (auto& [serial, s] : streams)
    if (s->idle(events.now(), stream_first_message_time, stream_idle_time)) idle.push_back(s.get());
  for (sip_stream* s : idle) s->give_up("idle");
  sweep_timer = events.timers().at(events.now() + sweep_interval, [this] { sweep(); });
}

stream_pool::stream_pool(loop& on, std::uint16_t worker, const stream_setup& setup, flow_registry& live,
                         stream_pool_user& user)
    : impl_(std::make_unique<impl>(on, worker, setup, live, user)) {}

stream_pool::~stream_pool() { close_all(); }

outcome<endpoint> stream_pool::listen(const endpoint& local, sip::transport t) {
  auto acceptor = tcp_acceptor::open(impl_->events, local, true,
                                     [p = impl_.get(), t](owned_fd fd) { p->accepted(std::move(fd), t); });
  if (!acceptor) return std::unexpected(acceptor.error());
  impl_->acceptors.push_back(std::move(*acceptor));
  return impl_->acceptors.back()->local();
}

void stream_pool::start() {
  for (auto& a : impl_->acceptors) a->start();
  impl_->sweep();
}

void stream_pool::set_sources(std::vector<ip_address> addresses) { impl_->sources = std::move(addresses); }

bool stream_pool::send(const sip::flow& where, std::string_view bytes) {
  sip_stream* s = impl_->get(where);
  return s != nullptr && s->send(bytes);
}

bool stream_pool::has(const sip::flow& f) const { return impl_->get(f) != nullptr; }

const sip::arrival* stream_pool::find(const sip::flow& f) const {
  const sip_stream* s = impl_->get(f);
  return s != nullptr ? &s->facts() : nullptr;
}

void stream_pool::open(const sip::target& to, opened done) {
  const std::string key = target_key(to);
  if (const auto it = impl_->targets.find(key); it != impl_->targets.end())
    return impl_->streams.at(it->second)->when_open(std::move(done));
  std::unique_ptr<tls_engine> tls;
  if (to.transport == sip::transport::tls) {
    const auto credentials = impl_->setup.outbound.get();
    if (!credentials) return done(std::nullopt);
    const std::string name = to.tls_name.empty() ? to.remote.ip.text() : to.tls_name;
    tls = std::make_unique<tls_engine>(credentials, tls_options{.name = name, .peers = to.trusted_peer ? impl_->setup.peers : nullptr});
  }
  sip_stream& s = impl_->make(to.transport);
  s.set_target_key(key);
  if (to.trusted_peer) s.set_to_trusted_peer();
  impl_->targets[key] = s.facts().flow.serial;
  s.when_open(std::move(done));
  impl_->dial(s, to.remote, std::move(tls), {});
}

void stream_pool::open_link(const node_id& to, opened done) {
  if (const auto it = impl_->links.find(to); it != impl_->links.end())
    return impl_->streams.at(it->second)->when_open(std::move(done));
  const auto where = impl_->setup.where_is ? impl_->setup.where_is(to) : std::nullopt;
  const auto credentials = impl_->setup.links.get();
  if (!where || !credentials) return done(std::nullopt);
  auto tls = std::make_unique<tls_engine>(credentials,
                                          tls_options{.use = tls_use::link, .alpn = {std::string(alpn_sip)}});
  sip_stream& s = impl_->make(sip::transport::link);
  s.set_called(to);
  impl_->links[to] = s.facts().flow.serial;
  s.when_open(std::move(done));
  impl_->dial(s, *where, std::move(tls), link_keep_alive);
}

void stream_pool::adopt(accepted_link link) {
  sip_stream& s = impl_->make(sip::transport::link);
  s.set_peer(link.peer);
  s.attach(std::make_unique<tcp_stream>(impl_->events, std::move(link.parts), s.events(), link_keep_alive));
}

void stream_pool::recheck_links() {
  std::vector<sip_stream*> out;
  for (auto& [serial, s] : impl_->streams) {
    if (!s->facts().from_link() || s->facts().peer.is_zero()) continue;
    const auto peer = impl_->setup.verify_peer(s->tls()->peer_chain());
    if (peer && peer->id == s->facts().peer) continue;
    note_refused_link(peer ? link_refusal::wrong_node : peer.error(), s->facts().flow.remote, "no longer accepted");
    out.push_back(s.get());
  }
  for (sip_stream* s : out) s->give_up("no longer accepted");
}

void stream_pool::drop_links(const node_id& peer) {
  std::vector<sip_stream*> out;
  for (auto& [serial, s] : impl_->streams)
    if (s->facts().from_link() && (s->facts().peer == peer || s->called() == peer)) out.push_back(s.get());
  for (sip_stream* s : out) s->give_up("the node is dead");
}

void stream_pool::close_all() {
  impl_->events.timers().cancel(impl_->sweep_timer);
  impl_->acceptors.clear();
  for (auto& [serial, s] : impl_->streams) impl_->live.remove(s->facts().flow);
  open_streams.add(-static_cast<std::int64_t>(impl_->streams.size()));
  impl_->streams.clear();
  impl_->sources_of.clear();
  impl_->links.clear();
  impl_->targets.clear();
}

std::size_t stream_pool::size() const { return impl_->streams.size(); }

} // namespace skald::node
