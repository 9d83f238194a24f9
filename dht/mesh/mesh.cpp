#include "dht/mesh/mesh.hpp"

#include "dht/mesh/core.hpp"

namespace skald::dht {

mesh::mesh(std::shared_ptr<core> c) : core_(std::move(c)) {}
mesh::~mesh() { core_->close(); }

outcome<std::unique_ptr<mesh>> mesh::open(asio::io_context& io, const clock& time, mesh_config config, mesh_callbacks on) {
  auto c = std::make_shared<core>(io, time, std::move(config), std::move(on));
  if (auto opened = c->open_sockets(); !opened) return std::unexpected(opened.error());
  return std::unique_ptr<mesh>(new mesh(std::move(c)));
}

endpoint mesh::local(ip_family family) const { return core_->local(family); }
const node_id& mesh::self() const { return core_->self(); }
void mesh::connect(const endpoint& to) { core_->connect(to); }
void mesh::set_address(const node_id& member, const endpoint& at) { core_->set_address(member, at); }
void mesh::forget_address(const node_id& member) { core_->forget_address(member); }
bool mesh::send_gossip(const node_id& to, std::string_view bytes) { return core_->send_gossip(to, bytes); }
bool mesh::send_gossip_at(const endpoint& at, std::string_view bytes) { return core_->send_gossip_at(at, bytes); }
void mesh::send_kademlia(const endpoint& to, std::string bytes) { core_->post_kademlia(to, std::move(bytes)); }
std::function<void(const endpoint&, std::string)> mesh::kademlia_sender() const {
  return [weak = std::weak_ptr(core_)](const endpoint& to, std::string bytes) {
    if (const auto c = weak.lock()) c->post_kademlia(to, std::move(bytes));
  };
}
void mesh::set_kademlia_sink(std::function<void(const endpoint&, std::string)> sink) { core_->set_kademlia_sink(std::move(sink)); }
void mesh::set_crl(std::string der) { core_->set_crl(std::move(der)); }
void mesh::set_identity(certs::bundle_ptr renewed) { core_->set_identity(std::move(renewed)); }
std::vector<mesh_peer> mesh::peers() const { return core_->peers(); }
bool mesh::has_session(const node_id& id) const { return core_->has_session(id); }

} // namespace skald::dht
