#include "node/cluster/twin_claim.hpp"

#include "base/pack.hpp"

namespace skald::node {

std::string twin_claim::encode() const {
  std::string out;
  pack::writer w(out);
  w.array(4);
  w.boolean(served);
  w.uint(born);
  w.uint(nonce);
  w.uint(version);
  return out;
}

std::optional<twin_claim> read_twin_claim(std::string_view bytes) {
  pack::reader r(bytes);
  twin_claim out;
  {
    pack::fields f(r);
    if (f.left() < 4) r.fail();
    out.served = f.boolean();
    out.born = f.uint();
    out.nonce = f.uint();
    if (f.next()) out.version = r.number<std::uint64_t>(std::uint64_t{1} << 62);
  }
  return r.ok() ? std::optional(out) : std::nullopt;
}

bool stays(const twin_claim& mine, const std::optional<twin_claim>& theirs) {
  if (!theirs || mine.served != theirs->served) return mine.served;
  return mine.born != theirs->born ? mine.born < theirs->born : mine.nonce < theirs->nonce;
}

} // namespace skald::node
