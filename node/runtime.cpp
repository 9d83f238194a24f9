#include "node/runtime.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "certs/credentials.hpp"
#include "certs/x509.hpp"
#include "node/cluster/role_memory.hpp"
#include "node/disk/state_dir.hpp"
#include "node/io/net_interfaces.hpp"
#include "node/streams/bundle_tls.hpp"
#include "node/version.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

namespace skald::node {

using nlohmann::json;

namespace {

dht::role_set built_roles() {
  dht::role_set out;
  for (const dht::role r : {dht::role::proxy, dht::role::registrar, dht::role::dns}) out.add(r);
  return out;
}

const std::vector<std::string> auto_alone{"auto"};

} // namespace

runtime::runtime(node_config config, certs::bundle bundle)
    : config_(std::move(config)), bundle_(std::make_shared<const certs::bundle>(std::move(bundle))),
      trust_(certs::trust_of(*bundle_)), cluster_loop_(clock_), group_(clock_, random_.next()) {}

runtime::~runtime() { stop_workers(); }

dht::role_set runtime::permitted_roles() const {
  dht::role_set out;
  for (const std::string& name : bundle_->roles)
    if (const auto r = dht::role_from(name)) out.add(*r);
  return out;
}

dht::member_body runtime::body() const {
  dht::member_body b;
  b.name = bundle_->name;
  b.addresses = addresses_;
  if (!config_.advertise.empty()) b.addresses = {*ip_address::parse(config_.advertise)};
  b.overlay_port = config_.overlay_port;
  b.link_port = config_.link_port;
  b.sip_port = config_.sip_port;
  b.sips_port = config_.sips_port;
  b.dns_port = config_.dns_port;
  b.zone = config_.zone;
  b.capacity = config_.capacity;
  b.roles = roles_;
  b.software = software_text;
  b.wire_lowest = dht::wire_version_lowest;
  b.wire_highest = dht::wire_version_highest;
  return b;
}

outcome<void> runtime::bind_workers() {
  std::uint32_t count = config_.workers != 0 ? config_.workers : std::clamp(std::thread::hardware_concurrency(), 1u, 16u);
  worker_config w;
  w.addresses = addresses_;
  if (!config_.advertise.empty()) w.advertise = *ip_address::parse(config_.advertise);
  w.sip_port = config_.sip_port;
  w.sips_port = config_.sips_port;
  for (std::uint16_t i = 0; i < count; ++i) {
    w.index = i;
    workers_.push_back(std::make_unique<worker>(w, group_));
    if (auto bound = workers_.back()->bind(); !bound) return bound;
  }
  return {};
}

outcome<void> runtime::bind_links() {
  auto made = link_credentials(*bundle_);
  if (!made) return std::unexpected(made.error());
  group_.streams.links.set(std::move(*made));
  group_.streams.verify_peer = make_peer_verifier(trust_, clock_);
  group_.streams.memory_full = [this] { return group_.load.floor() >= 2; };
  group_.streams.where_is = [this](const node_id& id) { return cluster_->link_address(id); };
  link_hub_config c{.self = bundle_->id, .addresses = addresses_, .port = config_.link_port};
  links_ = std::make_unique<link_hub>(
      cluster_loop_, c, group_.streams,
      [] {
        dht::hello h;
        h.software = software_text;
        return h;
      },
      [this](accepted_link link) { workers_[next_link_worker_++ % workers_.size()]->adopt_link(std::move(link)); });
  return links_->bind();
}

outcome<void> runtime::start() {
  started_ = clock_.now();
  for (const std::string& a : config_.addresses) addresses_.push_back(*ip_address::parse(a));
  if (addresses_.empty()) {
    auto found = default_addresses();
    if (!found) return std::unexpected(found.error());
    addresses_ = std::move(*found);
  }
  state_dir_ = config_.state_dir.empty() ? default_state_dir(bundle_->name) : config_.state_dir;
  if (auto made = make_state_dir(state_dir_); !made) return made;
  auto locked = lock_state_dir(state_dir_);
  if (!locked) return std::unexpected(locked.error());
  lock_ = owned_fd(*locked);
  const auto auto_roles = first_roles();
  if (!auto_roles) return std::unexpected(auto_roles.error());

  auto peers = peer_anchors(*bundle_, config_.peer_ca);
  if (!peers) return std::unexpected(peers.error());
  group_.streams.peers = std::move(*peers);
  tls_ = std::make_unique<phone_tls>(bundle_, group_.streams.phones, group_.streams.outbound);
  load_ = std::make_unique<load_watch>(group_.load, cluster_loop_, clock_, memory_budget(config_.memory_mb));
  group_.live.seed(static_cast<std::uint32_t>(random_.next()));
  auto dns = dns_client::make(cluster_loop_);
  if (!dns) return std::unexpected(dns.error());
  cluster_dns_ = std::move(*dns);
  dns_ = std::make_unique<dns_unit>(dns_unit_config{addresses_, config_.dns_port, roles_.has(dht::role::dns)}, cluster_loop_, clock_,
                                    random_, *cluster_dns_, [this]() -> dht::store_api& { return cluster_->whole_store(); },
                                    [this](bool seen) { cluster_->set_names_in_dns(seen); });
  if (auto bound = dns_->bind(); !bound) {
    log::warning("dns", fmt::format("{}; this node goes on without the role dns", bound.error().what));
    roles_.bits = static_cast<std::uint16_t>(roles_.bits & ~std::to_underlying(dht::role::dns));
  }
  cluster_ = std::make_unique<cluster_unit>(cluster_unit_config{config_, bundle_, state_dir_, addresses_, body(), *auto_roles}, cluster_loop_, clock_,
                                            random_, cluster_dns_.get(), [this] { on_facts(); });
  cluster_->prepare_roles = [this](dht::role_set wanted) { return prepare_roles(wanted); };
  cluster_->trust_changed = [this](const std::string& crl) { trust_changed(crl); };
  cluster_->stop_asked = [this] {
    abandoned_ = true;
    ::kill(::getpid(), SIGTERM);
  };
  if (auto bound = bind_workers(); !bound) return bound;
  if (auto bound = bind_links(); !bound) return bound;
  std::vector<roles::core*> cores;
  for (auto& w : workers_) {
    auto unit = worker_unit::make(*w, clock_, *cluster_, replays_, edge_);
    if (!unit) return std::unexpected(unit.error());
    cores.push_back(&(*unit)->core());
    units_.push_back(std::move(*unit));
  }
  for (auto& u : units_) u->core().set_siblings(cores);
  if (auto up = cluster_->start(*links_); !up) return up;
  dns_->start();
  for (auto& w : workers_) w->start();
  watch_bundle();
  watch_overload();
  return start_control();
}

// ---- roles, changed while the node runs

dht::role_set runtime::prepare_roles(dht::role_set wanted) {
  wanted = wanted.meet(permitted_roles()).meet(built_roles());
  const bool dns = wanted.has(dht::role::dns);
  if (dns_ && dns != cluster_->roles().has(dht::role::dns))
    if (const auto done = dns_->set_role(dns); !done) {
      log::warning("dns", fmt::format("{}; this node goes on without the role dns", done.error().what));
      wanted.bits = static_cast<std::uint16_t>(wanted.bits & ~std::to_underlying(dht::role::dns));
    }
  return wanted;
}

// What the configuration says: all that may be, or what is named. `auto` is none: what is wanted, the cluster will tell.
outcome<dht::role_set> runtime::configured_roles() const {
  if (config_.roles == auto_alone) return dht::role_set{};
  if (config_.roles.empty()) return permitted_roles().meet(built_roles());
  dht::role_set asked;
  for (const std::string& name : config_.roles) asked.add(*dht::role_from(name));
  for (const std::string_view name : dht::names(asked))
    if (!permitted_roles().has(*dht::role_from(name)))
      return std::unexpected(failure{fmt::format("the certificate of {} does not permit the role {}", bundle_->name, name), "issue a bundle with --role " + std::string(name)});
  return asked.meet(built_roles());
}

// Sets roles_; true: claims are made automatically.
outcome<bool> runtime::first_roles() {
  const auto configured = configured_roles();
  if (!configured) return std::unexpected(configured.error());
  roles_ = *configured;
  auto kept = kept_roles(state_dir_, config_.roles);
  if (!kept) return config_.roles == auto_alone;
  const auto set = *kept == auto_alone ? dht::role_set{} : named_roles(*kept);
  if (!set) {
    log::warning("node", fmt::format("the roles that were set by hand cannot be claimed any more: {}; the configured ones hold", set.error().what));
    return config_.roles == auto_alone;
  }
  roles_ = *set;
  roles_set_ = std::move(*kept);
  log::info("node", fmt::format("roles as they were set by hand: {} (back to the configured ones: skald roles set configured)", fmt::join(roles_set_, ",")));
  return roles_set_ == auto_alone;
}

outcome<dht::role_set> runtime::set_roles(const std::vector<std::string>& names) {
  const bool back = names == std::vector<std::string>{"configured"};
  const std::vector<std::string>& wanted = back ? config_.roles : names;
  const auto set = wanted == auto_alone ? dht::role_set{} : back ? configured_roles() : named_roles(wanted);
  if (!set) return std::unexpected(set.error());
  if (const auto kept = back ? forget_roles(state_dir_) : keep_roles(state_dir_, names, config_.roles); !kept) return std::unexpected(kept.error());
  roles_set_ = back ? std::vector<std::string>{} : names;
  if (wanted == auto_alone) cluster_->set_auto_roles();
  else cluster_->set_roles(*set);
  return cluster_->roles();
}

outcome<dht::role_set> runtime::named_roles(const std::vector<std::string>& names) const {
  dht::role_set wanted;
  for (const std::string& name : names) {
    const auto role = dht::role_from(name);
    if (!role) return std::unexpected(failure{fmt::format("role \"{}\" does not exist", name), "see: skald roles"});
    if (!permitted_roles().has(*role)) return std::unexpected(failure{fmt::format("the certificate of {} does not permit the role {}", bundle_->name, name), "issue a bundle with --role " + name});
    if (!built_roles().has(*role)) return std::unexpected(failure{fmt::format("the role {} is not built yet", name), "see: skald roles"});
    wanted.add(*role);
  }
  if (names.empty()) return std::unexpected(failure{"no role was named", "to take a node out of everything: skald drain"});
  return wanted;
}

// Every thread judges by the new list from now on; links whose peer it names are cut.
void runtime::trust_changed(const std::string& crl) {
  certs::trust t = certs::trust_of(*bundle_);
  t.crl = crl;
  trust_.set(std::move(t));
  links_->recheck();
  for (auto& w : workers_) w->recheck_links();
}

// ---- a renewed certificate: the file is looked at every two seconds

void runtime::watch_bundle() {
  struct stat info{};
  const std::int64_t changed = ::stat(config_.bundle.c_str(), &info) == 0 ? info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec : 0;
  const bool first = bundle_seen_ == 0;
  if (changed != 0 && changed != std::exchange(bundle_seen_, changed) && !first) take_bundle();
  cluster_loop_.timers().at(cluster_loop_.now() + bundle_look, [this] { watch_bundle(); });
}

// ---- overload: all are told, so that DNS sends phones to others

void runtime::watch_overload() {
  cluster_->set_overloaded(overload_.look(group_.load.level(), cluster_loop_.now()));
  cluster_loop_.timers().at(cluster_loop_.now() + overload_look, [this] { watch_overload(); });
}

void runtime::take_bundle() {
  const auto refuse = [](const failure& f) { log::error("tls", fmt::format("the new bundle is not used: {}{}{}", f.what, f.hint.empty() ? "" : "; ", f.hint)); };
  auto read = certs::load_bundle(config_.bundle, clock_.wall());
  if (!read) return refuse(read.error());
  if (read->certificate == bundle_->certificate) return;
  if (read->ca != bundle_->ca || read->domain != bundle_->domain || read->name != bundle_->name)
    return refuse({"it is of another cluster or node", "stop the node and start it with the new bundle"});
  auto renewed = std::make_shared<const certs::bundle>(std::move(*read));
  auto credentials = link_credentials(*renewed);
  if (!credentials) return refuse(credentials.error());
  if (const auto taken = cluster_->set_identity(renewed); !taken) return refuse(taken.error());
  bundle_ = renewed;
  group_.streams.links.set(std::move(*credentials));
  tls_->set_own(renewed);
  log::info("tls", fmt::format("took the renewed certificate, valid until {}", certs::date_text(renewed->not_after)));
}

// ---- draining: until no call passes here any more, nor rings

void runtime::drain_tick() {
  auto seen = std::make_shared<drain_sight>();
  for (std::size_t i = 0; i < units_.size(); ++i)
    workers_[i]->events().post([this, seen, unit = units_[i].get()] {
      cluster_loop_.post([seen, ringing = unit->core().unanswered()] {
        seen->ringing.insert(ringing.begin(), ringing.end());
        ++seen->workers_heard;
      });
    });
  query_->ask(*cluster_->facts()->view, "calls", "", [this, seen](cluster_query::total t) {
    for (const json& row : t.rows)
      if (const auto edges = row.find("edges"); edges != row.end() && edges->is_array())
        seen->calls += std::ranges::find(*edges, json(bundle_->name)) != edges->end() ? 1 : 0;
    seen->calls_known = t.silent.empty();
    cluster_loop_.timers().at(cluster_loop_.now() + drain_look, [this, seen] { drain_judge(seen); });
  });
}

void runtime::drain_judge(const std::shared_ptr<drain_sight>& seen) {
  drain_left_ = {seen->calls, seen->ringing.size()};
  const bool sure = seen->calls_known && seen->workers_heard == units_.size();
  drain_quiet_ = sure && drain_left_.calls + drain_left_.ringing == 0 ? drain_quiet_ + 1 : 0;
  if (drain_quiet_ < drain_quiet_looks) return drain_tick();
  log::info("node", "no call passes here any more, and none rings");
  ::kill(::getpid(), SIGTERM); // leaves, and ends
}

outcome<void> runtime::start_control() {
  routes_ = std::make_unique<control_routes>(services());
  query_ = std::make_unique<cluster_query>(clock_, cluster_loop_.timers(), *links_, [this](const std::string& what, const std::string& arg, const std::string& cursor) {
    return routes_->answer_page(what, arg, cursor);
  });
  cluster_->set_query(*query_);
  routes_->set_query(*query_);
  control_path_ = config_.control.empty() ? state_dir_ + "/control.sock" : config_.control;
  std::optional<endpoint> metrics_at;
  if (!config_.metrics.empty()) metrics_at = *endpoint::parse(config_.metrics);
  auto server = control_server::start(control_path_, metrics_at ? &*metrics_at : nullptr, [this](const control_request& r) { return routes_->handle(r); });
  if (!server) return std::unexpected(server.error());
  control_ = std::move(*server);
  return {};
}

control_services runtime::services() {
  control_services s;
  s.events = &cluster_loop_;
  s.time = &clock_;
  s.facts = [this] { return cluster_->facts(); };
  s.store = &cluster_->whole_store();
  s.shared = &cluster_->shared();
  s.status = [this] { return status_lines(); };
  s.dns = [this](bool setup) { return dns_->status(setup); };
  s.local_tls = [this] {
    const auto facts = cluster_->facts();
    std::vector<std::string> hosts{facts->config->default_domain};
    for (const dht::member& m : facts->view->members)
      if (m.alive() && !m.body.name.empty()) hosts.push_back(m.body.name + "." + facts->config->default_domain);
    return tls_->row(bundle_->name, hosts, clock_.wall());
  };
  s.check_tls = [this](const std::string& cert, const std::string& key, const std::string& domain) { return tls_->check(cert, key, domain, clock_.wall()); };
  s.base = [this]() -> const dht::base_keeper& { return cluster_->base_known(); };
  s.accept_base = [this] { cluster_->accept_base(); };
  s.take_revocations = [this](const std::string& der) { return cluster_->take_revocations(der); };
  s.drain = [this] {
    if (!cluster_->draining()) {
      cluster_->drain();
      drain_tick();
    }
  };
  s.drain_left = [this]() -> std::optional<drain_progress> { return cluster_->draining() ? std::optional(drain_left_) : std::nullopt; };
  s.leave = [this](std::move_only_function<void()> done) {
    cluster_->leave([done = std::move(done)]() mutable {
      done();
      ::kill(::getpid(), SIGTERM);
    });
  };
  s.built = built_roles();
  s.permitted = [this] { return permitted_roles(); };
  s.claimed = [this] { return cluster_->roles(); };
  s.set_roles = [this](const std::vector<std::string>& names) { return set_roles(names); };
  return s;
}

json runtime::status_lines() const {
  std::uint64_t up_s = static_cast<std::uint64_t>(std::chrono::duration_cast<seconds>(clock_.now() - started_).count());
  json out{{"uptime_s", up_s}, {"workers", workers_.size()}, {"mesh_peers", cluster_->mesh_peers()}, {"links", links_->peers().size()},
           {"clock_deviation_ms", cluster_->clock_deviation().count()}, {"clock_wrong", cluster_->clock_wrong()}, {"control", control_path_},
           {"overload_percent", static_cast<int>(group_.load.level() * 100)}, {"memory_mb", group_.load.memory_bytes() >> 20},
           {"memory_budget_mb", load_->budget() >> 20},
           {"half_dead", cluster_->half_dead()}, {"draining", cluster_->draining()}, {"revocation_list", cluster_->revocations().number},
           {"revoked_certificates", cluster_->revocations().serials.size()},
           {"certificate_until", certs::date_text(bundle_->not_after)}};
  if (!roles_set_.empty()) out["roles_set"] = roles_set_;
  if (const std::string waiting = cluster_->waiting_for(); !waiting.empty()) out["waiting_for"] = waiting;
  return out;
}

void runtime::on_facts() {
  tls_->take_settings(cluster_->shared().stored());
  if (cluster_->facts()->view != told_view_) {
    for (const dht::member& m : cluster_->facts()->view->members) {
      const dht::member* before = told_view_ ? told_view_->find(m.id) : nullptr;
      if (m.alive() || before == nullptr || !before->alive()) continue;
      for (auto& w : workers_) w->drop_links(m.id);
    }
    told_view_ = cluster_->facts()->view;
    for (std::size_t i = 0; i < units_.size(); ++i)
      workers_[i]->events().post([unit = units_[i].get()] { unit->core().on_view(); });
  }
  if (dns_) dns_->on_facts(cluster_->facts(), tls_->has_public());
  if (query_ && !adopted_ && cluster_->facts()->serving) {
    adopted_ = true;
    adopt_bindings();
  }
}

// Once, when this node serves for the first time: UDP flows outlive a restart, so their bindings are found and pinged on.
void runtime::adopt_bindings() {
  query_->ask(*cluster_->facts()->view, "edge", bundle_->name, [this](cluster_query::total t) {
    const auto keys = cluster_->facts()->keys;
    std::size_t found = 0;
    for (const json& row : t.rows) {
      const auto stored = row.find("binding");
      const auto bytes = stored != row.end() && stored->is_string() ? from_base64(stored->get_ref<const std::string&>()) : std::unexpected(errc::malformed);
      auto b = bytes ? roles::decode_binding(*bytes) : std::unexpected(errc::malformed);
      const auto holder = b ? roles::core::worker_of(*b, *keys) : std::nullopt;
      if (!holder || *holder >= units_.size()) continue;
      ++found;
      workers_[*holder]->events().post([unit = units_[*holder].get(), b = std::move(*b)] { unit->core().adopt(b); });
    }
    if (found > 0) log::info("edge", fmt::format("{} bindings name this node as their edge", found));
  });
}

std::string runtime::summary() const {
  std::vector<std::string> texts;
  for (const ip_address& a : addresses_) texts.push_back(a.text());
  return fmt::format("{} {} of {} on {}: SIP {}, SIPS {}, overlay {}/udp, links {}/tcp, {} workers, roles {}", software_text, bundle_->name,
                     bundle_->domain, fmt::join(texts, ", "), config_.sip_port, config_.sips_port, config_.overlay_port, config_.link_port,
                     workers_.size(), fmt::join(dht::names(roles_), ","));
}

void runtime::stop_workers() {
  control_.reset();
  for (auto& w : workers_) w->stop();
}

int runtime::run() {
  // Signals are taken by this thread alone: the loop runs on another, and leaving takes a moment.
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  std::atomic<bool> left = false; // outlives the thread that sets it
  std::jthread cluster_thread([this] { cluster_loop_.run(); });
  int signal = 0;
  sigwait(&wanted, &signal);
  log::info("node", "stopping");
  if (abandoned_) left = true;
  else cluster_loop_.post_always([&] { cluster_->leave([&] { left = true; }); });
  // A second signal, or the deadline, ends it at once.
  const timespec step{0, 20'000'000};
  for (int i = 0; i < 1000 && !left; ++i)
    if (sigtimedwait(&wanted, nullptr, &step) > 0) break;
  stop_workers();
  cluster_loop_.post_always([&] {
    dns_.reset();
    links_->stop();
    cluster_->stop();
    cluster_loop_.stop();
  });
  cluster_thread.join();
  return abandoned_ ? 1 : 0;
}

} // namespace skald::node
