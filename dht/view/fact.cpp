#include "dht/view/fact.hpp"

namespace skald::dht {
namespace {

constexpr std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

} // namespace

std::uint64_t stamp_share(const fact& f) {
  if (!f.alive()) return 0;
  std::uint64_t h = 0x5ca1d;
  for (const std::size_t at : {0U, 8U}) h = mixed(h ^ get_be<std::uint64_t>(f.id.view().substr(at)));
  h = mixed(h ^ get_be<std::uint32_t>(f.id.view().substr(16)));
  h = mixed(h ^ f.self.life);
  h = mixed(h ^ (std::uint64_t{f.self.incarnation} << 8 | static_cast<std::uint64_t>(f.state)));
  return mixed(h ^ f.version);
}

} // namespace skald::dht
