// What a node keeps on disk of its place in the cluster: the lists that it saw last (as the members they follow from) and
// its sources (consistency.md §4: "sources are on disk with the lists").
#include "base/pack.hpp"
#include "dht/store/placement.hpp"

namespace skald::dht {
namespace {

constexpr std::uint64_t layout = 1;

void pack_members(pack::writer& out, const ring_ptr& r) {
  out.array(r ? r->members().size() : 0);
  if (!r) return;
  for (const auto& m : r->members()) out.array(3).bin(m.id.view()).uint(m.capacity).bin(m.zone);
}

std::vector<ring_member> unpack_members(pack::fields& parent) {
  std::vector<ring_member> out;
  pack::fields in = parent.array(ring_members_max);
  while (in.more()) {
    pack::fields one = in.array();
    auto& m = out.emplace_back();
    m.id = one.id<node_id>();
    m.capacity = one.number<std::uint32_t>(100);
    m.zone = one.bin();
  }
  return out;
}

} // namespace

std::string placement::save() const {
  std::string out;
  pack::writer p(out);
  p.array(4).uint(layout);
  pack_members(p, rings_.serving);
  pack_members(p, rings_.target);
  const auto sources = sources_.all();
  p.array(sources.size());
  for (const auto& s : sources) p.array(3).bin(s.id.view()).sint(s.since).bin(s.open.encode());
  return out;
}

bool placement::restore(std::string_view saved) {
  pack::reader r(saved);
  decltype(former_) lists;
  std::vector<told_source> sources;
  {
    pack::fields in(r);
    if (in.uint() != layout) return false;
    lists.serving = unpack_members(in);
    lists.target = unpack_members(in);
    pack::fields list = in.array();
    while (list.more()) {
      pack::fields one = list.array();
      auto& s = sources.emplace_back();
      s.id = one.id<node_id>();
      s.since = one.sint();
      const auto open = partition_set::decode(one.bin());
      if (!open) one.fail();
      else s.open = *open;
    }
  }
  if (!r.ok()) return false;
  partition_set all;
  all.set_all();
  sources_.unite(sources, all);
  former_ = std::move(lists);
  return true;
}

} // namespace skald::dht
