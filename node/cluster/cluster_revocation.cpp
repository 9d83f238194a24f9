// cluster_unit: revocation (consistency.md §8). A list signed by the CA is taken from an operator, a peer or the disk; what it
// names is cut off at once, everywhere, and for good.
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "certs/credentials.hpp"
#include "certs/x509.hpp"
#include "dht/directory/record.hpp"
#include "node/cluster/cluster_unit.hpp"
#include "node/disk/state_dir.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace skald::node {
namespace {

metrics::gauge revoked_certificates("skald_cluster_revoked_certificates", "Certificates on the newest revocation list that this node knows");
metrics::counter lists_refused("skald_cluster_revocations_refused_total", "Revocation lists from peers that the CA did not sign, or that could not be read");

constexpr std::string_view revocations_file = "/revoked.crl";
constexpr std::size_t by_datagram_max = 6 * 1024; // a longer list goes over links only

} // namespace

bool cluster_unit::is_revoked(std::string_view certificate_der) const {
  if (revocations_.serials.empty()) return false;
  const auto crt = certs::import_crt(certificate_der);
  return crt && std::ranges::find(revocations_.serials, certs::serial_of(crt->get())) != revocations_.serials.end();
}

certs::trust cluster_unit::trust() const {
  certs::trust t = certs::trust_of(*config_.bundle);
  t.crl = revocations_der_;
  return t;
}

// At the start, before anything is bound: a node whose own certificate is named does not begin.
outcome<void> cluster_unit::load_revocations() {
  const auto kept = read_file(config_.state_dir + std::string(revocations_file));
  if (!kept) return {}; // none yet
  auto list = certs::read_revocations(*kept, config_.bundle->ca);
  if (!list) {
    log::error("state", config_.state_dir + std::string(revocations_file) + " is no revocation list of this cluster's CA; it is not used");
    return {};
  }
  revocations_ = std::move(*list);
  revocations_der_ = *kept;
  revoked_certificates.set(static_cast<std::int64_t>(revocations_.serials.size()));
  if (is_revoked(config_.bundle->certificate))
    return std::unexpected(failure{"this node's certificate was revoked", "issue a new bundle where the CA is: skald cert issue NAME"});
  if (trust_changed) trust_changed(revocations_der_);
  return {};
}

outcome<bool> cluster_unit::take_revocations(std::string_view der) {
  auto list = certs::read_revocations(der, config_.bundle->ca);
  if (!list) return std::unexpected(failure{"this is no revocation list of this cluster's CA", "it is made where the CA is: skald revoke NAME"});
  if (list->number <= revocations_.number) return false; // known, or older
  revocations_ = std::move(*list);
  revocations_der_ = std::string(der);
  revoked_certificates.set(static_cast<std::int64_t>(revocations_.serials.size()));
  log::warning("membership", fmt::format("revocation list {}: {} certificates", revocations_.number, revocations_.serials.size()));
  if (const auto written = write_file(config_.state_dir + std::string(revocations_file), der); !written) log::error("state", written.error().what);
  flood_revocations(); // first: the named ones hear of it, too, and stop
  apply_revocations();
  return true;
}

void cluster_unit::send_revocations(const node_id& to) {
  if (!revocations_der_.empty() && links_ != nullptr) links_->send(to, {dht::frame_type::revocations, 1, revocations_der_});
}

void cluster_unit::flood_revocations() {
  for (const dht::mesh_peer& p : mesh_->peers()) tell_revocations(p.id);
  const dht::view_ptr v = view();
  for (const dht::member& m : v->members)
    if (m.id != v->self && m.alive()) send_revocations(m.id);
}

void cluster_unit::tell_revocations(const node_id& peer) {
  if (revocations_der_.empty() || revocations_der_.size() > by_datagram_max) return;
  mesh_->send_gossip(peer, std::string{static_cast<char>(dht::frame_type::revocations), '\1'} + revocations_der_);
}

void cluster_unit::apply_revocations() {
  if (is_revoked(config_.bundle->certificate)) {
    log::error("membership", "this node's certificate was revoked: it stops");
    if (stop_asked) stop_asked();
  }
  // By the certificates that stand in the members' own records: a renewed one for the same key is another certificate.
  std::vector<node_id> out;
  for (const auto& [id, record] : records_) {
    const auto entry = dht::open_record(record, certs::trust_of(*config_.bundle), clock_.wall());
    if (id != config_.bundle->id && entry && is_revoked(entry->certificate)) out.push_back(id);
  }
  for (const dht::mesh_peer& p : mesh_->peers())
    if (is_revoked(p.certificate) && std::ranges::find(out, p.id) == out.end()) out.push_back(p.id);
  mesh_->set_crl(revocations_der_);
  if (directory_) directory_->set_crl(revocations_der_);
  if (trust_changed) trust_changed(revocations_der_);
  for (const node_id& id : out) {
    log::warning("membership", fmt::format("{} is revoked: it is no member any more", id.hex()));
    records_.erase(id);
    links_->disconnect(id);
    mesh_->forget_address(id);
    link_addresses_.with([&](auto& all) { all.erase(id); });
    membership_->revoke(id, clock_.now());
  }
  arm_membership();
  if (shared_) shared_->set_revoked_at(static_cast<unix_ms>(revocations_.number));
}

void cluster_unit::on_revocations(std::string_view der) {
  if (!take_revocations(der)) lists_refused.add();
}

// ---- a renewed certificate

outcome<void> cluster_unit::set_identity(certs::bundle_ptr renewed) {
  if (renewed->id != config_.bundle->id) return std::unexpected(failure{"the new bundle has another key", "stop the node and start it with the new bundle"});
  if (is_revoked(renewed->certificate)) return std::unexpected(failure{"the new bundle's certificate was revoked"});
  config_.bundle = std::move(renewed);
  mesh_->set_identity(config_.bundle);
  if (directory_) directory_->set_identity(config_.bundle);
  dht::role_set permitted = dht::permitted_roles(config_.bundle->roles);
  config_.body.roles = config_.body.roles.meet(permitted);
  renew_body(0);
  return {};
}

} // namespace skald::node
