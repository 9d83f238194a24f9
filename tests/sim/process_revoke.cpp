// process: revoked certificates, as node/cluster/cluster_revocation.cpp takes, keeps and spreads the CA's list. Here a certificate is
// its node's id, and the list is believed without a signature.
#include "base/encoding.hpp"
#include "tests/sim/cluster.hpp"
#include "tests/sim/process.hpp"

namespace skald::sim {
namespace {

constexpr std::size_t id_bytes = 20;

std::optional<revocation_list> decode(std::string_view bytes) {
  if (bytes.size() < 8 || (bytes.size() - 8) % id_bytes != 0) return std::nullopt;
  revocation_list out{get_be<std::uint64_t>(bytes), {}};
  for (std::size_t at = 8; at < bytes.size(); at += id_bytes) out.named.insert(*node_id::from_bytes(bytes.substr(at, id_bytes)));
  return out;
}

} // namespace

std::string encode(const revocation_list& list) {
  std::string out;
  put_be<std::uint64_t>(out, list.number);
  for (const node_id& id : list.named) out += id.view();
  return out;
}

void process::take_revocations(const revocation_list& list) {
  turn([&] {
    if (list.number <= revoked_.number) return;
    revoked_ = list;
    if (!on_.disk.full) on_.disk.revoked = list;
    for (const machine_id p : mesh_->peers()) tell_revocations(p); // first: the named ones hear of it, too, and stop
    const dht::view_ptr v = view();
    for (const dht::member& m : v->members)
      if (m.id != v->self && m.alive()) links_->send(m.id, {dht::frame_type::revocations, 1, encode(revoked_)});
    apply_revocations();
  });
}

void process::on_revocations(std::string_view bytes) {
  const auto list = decode(bytes);
  SKALD_ASSERT(list.has_value());
  take_revocations(*list);
}

void process::tell_revocations(machine_id peer) {
  if (revoked_.number != 0) mesh_->send(peer, std::string{static_cast<char>(dht::frame_type::revocations), '\1'} + encode(revoked_));
}

void process::apply_revocations() {
  if (is_revoked(id())) {
    home_.time.after(duration{0}, [this, alive = std::weak_ptr<int>(alive_)] {
      if (alive.expired()) return;
      home_.time.note("{} stops: its certificate was revoked", on_.spec.name);
      ++home_.happened["revoked and stopped"];
      home_.end_for_good(on_.spec.number);
    });
  }
  for (const node_id& named : revoked_.named) {
    if (named == id()) continue;
    records_.erase(named);
    links_->disconnect(named);
    for (const machine_id p : mesh_->peers())
      if (home_.at(p).spec.id == named) mesh_->drop(p);
    homes_.erase(named);
    addresses_.erase(named);
    membership_->revoke(named, on_.now());
  }
  arm_membership();
  shared_->set_revoked_at(static_cast<unix_ms>(revoked_.number));
}

} // namespace skald::sim
