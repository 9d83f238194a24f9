#include "dht/ring/ring.hpp"

#include "base/crypto.hpp"
#include "dht/ring/score.hpp"

#include <algorithm>
#include <map>

namespace skald::dht {
namespace {

// What a row's choice needs of a member, kept together: 16 bytes and a zone number.
struct candidate_source {
  std::uint64_t seed;
  std::uint64_t inverse;
  std::uint32_t zone;
};

// A member on trial for one partition. Members are sorted by id, so comparing the index breaks ties by the smaller id.
struct candidate {
  std::uint64_t cost = ~std::uint64_t{0};
  std::uint32_t index = ~std::uint32_t{0}; // none
  std::uint32_t zone = 0;

  bool exists() const { return index != ~std::uint32_t{0}; }
  bool better_than(const candidate& o) const { return cost != o.cost ? cost < o.cost : index < o.index; }
};

// The best three and the best one outside the zone of the best, in one pass (A4).
class selection {
public:
  void offer(const candidate& x) {
    if (x.better_than(best_[0])) {
      if (best_[0].exists() && best_[0].zone != x.zone) outside_ = best_[0];
      best_[2] = best_[1];
      best_[1] = best_[0];
      best_[0] = x;
      return;
    }
    if (x.zone != best_[0].zone && x.better_than(outside_)) outside_ = x;
    if (x.better_than(best_[1])) {
      best_[2] = best_[1];
      best_[1] = x;
    } else if (x.better_than(best_[2])) {
      best_[2] = x;
    }
  }

  // The list. The last place goes to the best one outside if the first two share a zone: it is the heir of the zone.
  std::array<std::uint16_t, copies_default> row() const {
    const bool first_two_together = best_[1].exists() && best_[1].zone == best_[0].zone;
    const candidate& last = first_two_together && best_[2].exists() && outside_.exists() ? outside_ : best_[2];
    // No candidate: ~0 is cut to 0xffff, which is "nobody".
    return {static_cast<std::uint16_t>(best_[0].index), static_cast<std::uint16_t>(best_[1].index),
            static_cast<std::uint16_t>(last.index)};
  }

private:
  std::array<candidate, copies_default> best_{};
  candidate outside_{};
};

static_assert(copies_default == 3); // ring::for_each_of names each place, too

std::vector<candidate_source> sources_of(const std::vector<ring_member>& members) {
  std::map<std::string_view, std::uint32_t> zones;
  std::vector<candidate_source> out;
  out.reserve(members.size());
  for (const ring_member& m : members) {
    const auto zone = zones.emplace(m.zone, static_cast<std::uint32_t>(zones.size())).first->second;
    out.push_back({score::seed_of(m.id), score::inverse(m.capacity), zone});
  }
  return out;
}

void make_lawful(std::vector<ring_member>& members) {
  for (ring_member& m : members) m.capacity = std::clamp<std::uint32_t>(m.capacity, 1, 65535);
  std::ranges::sort(members, {}, &ring_member::id);
  const auto twice = std::ranges::unique(members, {}, &ring_member::id);
  members.erase(twice.begin(), twice.end());
}

} // namespace

struct ring_builder {
  ring& out;
  std::vector<candidate_source> sources = sources_of(out.members_);

  // How the members of a former ring are found again in this one.
  struct difference {
    std::vector<std::uint16_t> now_at;    // former index → index here; nobody: gone, or not the same any more
    std::vector<std::uint32_t> newcomers; // indexes here: new, or with another capacity or zone
    std::size_t gone = 0;
  };

  candidate at(std::uint32_t index, std::uint32_t p) const {
    const candidate_source& s = sources[index];
    return {score::cost(s.seed, s.inverse, p), index, s.zone};
  }

  ring::row from_all(std::uint32_t p) const {
    selection s;
    for (std::uint32_t i = 0; i < sources.size(); ++i) s.offer(at(i, p));
    return s.row();
  }

  difference compare(const ring& former) const {
    difference d;
    d.now_at.reserve(former.members_.size());
    std::size_t here = 0;
    const auto take_newcomer = [&] { d.newcomers.push_back(static_cast<std::uint32_t>(here++)); };
    for (const ring_member& was : former.members_) {
      while (here < out.members_.size() && out.members_[here].id < was.id) take_newcomer();
      const bool same = here < out.members_.size() && out.members_[here] == was;
      d.now_at.push_back(same ? static_cast<std::uint16_t>(here) : ring::nobody);
      if (same) ++here;
      if (!same) ++d.gone;
    }
    while (here < out.members_.size()) take_newcomer();
    return d;
  }

  // A row in which somebody stood who is gone is chosen again among all. In any other the list has what the rule can
  // still choose besides the newcomers: its first two, and the third or the best one outside.
  ring::row from_former(const ring::row& was, const difference& d, std::uint32_t p) const {
    selection s;
    for (const std::uint16_t index : was) {
      if (index == ring::nobody) continue;
      if (d.now_at[index] == ring::nobody) return from_all(p);
      s.offer(at(d.now_at[index], p));
    }
    for (const std::uint32_t index : d.newcomers) s.offer(at(index, p));
    return s.row();
  }

  void scratch() {
    for (std::uint32_t p = 0; p < partition_count; ++p) out.rows_[p] = from_all(p);
  }

  void from(const ring& former) {
    const difference d = compare(former);
    if (d.newcomers.empty() && d.gone == 0) {
      out.rows_ = former.rows_;
      return;
    }
    // Costs to draw per row: from scratch all members; else the old list and the newcomers, and all in the rows where
    // one stood who is gone (three places among the former members).
    const std::size_t now = sources.size(), before = former.members_.size();
    const std::size_t incremental = copies_default + d.newcomers.size() + now * copies_default * d.gone / std::max<std::size_t>(before, 1);
    if (before <= copies_default || incremental >= now) return scratch();
    if (d.newcomers.empty()) return without_the_gone(former, d);
    for (std::uint32_t p = 0; p < partition_count; ++p) out.rows_[p] = from_former(former.rows_[p], d, p);
  }

  // Nobody came: a row without the gone keeps its order, and nothing is drawn for it.
  void without_the_gone(const ring& former, const difference& d) {
    for (std::uint32_t p = 0; p < partition_count; ++p) {
      ring::row kept{};
      bool whole = true;
      for (std::size_t i = 0; i < kept.size(); ++i) {
        kept[i] = d.now_at[former.rows_[p][i]]; // before > 3: every row is full
        whole = whole && kept[i] != ring::nobody;
      }
      out.rows_[p] = whole ? kept : from_all(p);
    }
  }
};

std::shared_ptr<const ring> ring::build(std::vector<ring_member> members, const ring* former) {
  make_lawful(members);
  SKALD_ASSERT(members.size() < nobody);
  auto made = std::make_shared<ring>();
  made->members_ = std::move(members);
  made->rows_.assign(partition_count, row{nobody, nobody, nobody});
  ring_builder builder{*made};
  if (former != nullptr && !former->rows_.empty()) {
    builder.from(*former);
  } else {
    builder.scratch();
  }
  return made;
}

bool ring::list::has(const node_id& id) const {
  return std::ranges::any_of(span(), [&](const node_id* n) { return *n == id; });
}

ring::list ring::at(partition p) const {
  return rows_.empty() ? list{} : list_of(rows_[static_cast<std::uint16_t>(p)]);
}

ring::list ring::list_of(const row& r) const {
  list out;
  for (const std::uint16_t index : r) {
    if (index == nobody) break;
    out.nodes[out.size++] = &members_[index].id;
  }
  return out;
}

std::vector<ring::list> ring::without(const node_id& member, std::span<const partition> of) const {
  const std::vector<candidate_source> sources = sources_of(members_);
  const auto gone = std::ranges::lower_bound(members_, member, {}, &ring_member::id) - members_.begin();
  std::vector<list> out;
  out.reserve(of.size());
  for (const partition p : of) {
    selection s;
    for (std::uint32_t i = 0; i < sources.size(); ++i)
      if (i != gone || members_[i].id != member)
        s.offer({score::cost(sources[i].seed, sources[i].inverse, static_cast<std::uint16_t>(p)), i, sources[i].zone});
    out.push_back(list_of(s.row()));
  }
  return out;
}

const node_id* ring::owner(const ring_key& k) const {
  if (members_.empty()) return nullptr;
  return &members_[rows_[static_cast<std::uint16_t>(partition_of(k))][0]].id;
}

namespace {

template <class Belongs>
std::vector<ring_member> members_where(const view& v, role r, Belongs belongs) {
  std::vector<ring_member> out;
  for (const member& m : v.members)
    if (belongs(m.state) && m.body.roles.has(r)) out.push_back({m.id, m.body.capacity, m.body.zone});
  return out;
}

ring_key sha1_key(std::string_view text) { return *ring_key::from_bytes(crypto::sha1(text)); }

} // namespace

std::vector<ring_member> serving_members(const view& v, role r) {
  return members_where(v, r, [](member_state s) { return s == member_state::active || s == member_state::draining; });
}

std::vector<ring_member> target_members(const view& v, role r) {
  return members_where(v, r, [](member_state s) { return s == member_state::active || s == member_state::joining; });
}

ring_key key_of_aor(std::string_view canonical_aor) { return sha1_key(canonical_aor); }
ring_key key_of_name(std::string_view name) { return sha1_key(name); }

} // namespace skald::dht
