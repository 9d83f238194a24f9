#include "roles/proxy/via_writer.hpp"

#include "sip/transaction/branch.hpp"

namespace skald::roles {

void via_writer::put(sip::message& request, const sip::flow& flow, std::uint32_t loop_hash, const name_index& names) {
  const cluster_facts& facts = *names.facts();
  const std::string branch = sip::make_branch(*facts.keys, env_.clock.wall(), {env_.worker, ++serial_, loop_hash});
  std::string value = "SIP/2.0/";
  value += sip::via_name(flow.transport);
  value += ' ';
  // On links the node's name: a response without a transaction finds its node by it.
  value += flow.transport == sip::transport::link ? names.host_of_self() : env_.flows.advertised(flow).text();
  if (flow.transport == sip::transport::udp) value += ";rport"; // RFC 3581 §3
  value += ";branch=" + branch;
  request.prepend(sip::header::via, value);
}

} // namespace skald::roles
