#include "dht/directory/record.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/log.hpp"
#include "base/pack.hpp"
#include "certs/signature.hpp"
#include "dht/mesh/refusals.hpp"
#include "dht/view/body_codec.hpp"

#include <atomic>
#include <fmt/format.h>

namespace skald::dht {
namespace {

constexpr std::uint8_t format = 1;

// Never sign bare bytes: with the purpose in front no other protocol's message can pass for a record.
std::string signed_text(std::string_view body) { return std::string("skald directory record 1\n").append(body); }

} // namespace

std::string make_record(const member_body& own, const certs::bundle& author) {
  const std::string body = encode_body(own);
  std::string out;
  pack::writer w(out);
  w.array(4);
  w.uint(format);
  w.bin(body);
  w.bin(author.certificate);
  w.bin(certs::sign(author, signed_text(body)));
  return out;
}

result<directory_entry> open_record(std::string_view record, const certs::trust& against, unix_ms now) {
  if (record.size() > record_bytes_max) return std::unexpected(errc::too_large);
  pack::reader r(record);
  std::uint64_t said = 0;
  std::string_view body_bytes, certificate, signature;
  {
    pack::fields f(r);
    if (f.left() < 4) return std::unexpected(errc::malformed);
    said = f.uint();
    body_bytes = f.bin();
    certificate = f.bin();
    signature = f.bin();
  }
  if (!r.ok() || !r.at_end()) return std::unexpected(errc::malformed);
  if (said != format) return std::unexpected(errc::unsupported);

  const auto author = certs::check_peer(std::span(&certificate, 1), against, now);
  if (!author) return std::unexpected(author.error() == certs::refusal::expired ? errc::expired : errc::not_authentic);
  if (!certs::verify(certificate, signed_text(body_bytes), signature)) return std::unexpected(errc::not_authentic);
  auto body = decode_body(body_bytes);
  if (!body) return std::unexpected(body.error());
  if (!equal_nocase(body->name, author->name)) return std::unexpected(errc::not_authentic);
  cut_to_permitted(*body, permitted_roles(author->roles));
  return directory_entry{author->id, std::move(*body), std::string(certificate)};
}

role_set permitted_roles(std::span<const std::string> role_names) {
  role_set out;
  for (const auto& name : role_names)
    if (const auto r = role_from(name)) out.add(*r);
  return out;
}

void cut_to_permitted(member_body& body, role_set permitted) {
  const role_set kept = body.roles.meet(permitted);
  if (kept == body.roles) return;
  const role_set beyond{static_cast<std::uint16_t>(body.roles.bits & ~permitted.bits)};
  body.roles = kept;
  // Each reader sees the same claim again and again: say it seldom. Threads: the DHT's and the cluster's.
  static constinit std::atomic<bool> said{false};
  count_refusal(mesh_refusal::role);
  if (!said.exchange(true) || log::enabled(log::level::debug))
    log::warning("mesh", fmt::format("{} claims roles that its certificate does not permit: {}", body.name, fmt::join(names(beyond), ", ")));
}

std::uint32_t directory_shard(const node_id& id, unsigned bits) {
  return bits == 0 ? 0 : static_cast<std::uint32_t>(id.head() >> (64 - bits));
}

ring_key directory_key(std::string_view domain, std::uint32_t shard, unsigned bits) {
  return ring_key::from_bytes(crypto::sha1(fmt::format("skald directory {} {}/{}", domain, shard, bits))).value();
}

} // namespace skald::dht
