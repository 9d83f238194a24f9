#pragma once
// What the phones did and were told, item by item, and what may therefore be found: the judge of invariants 1, 2, 4 and 7.
//
// Operations on one item come from one phone, one after the other, and each value names its operation. So whatever is
// read must be the outcome of the last acknowledged operation, or of one that was under way beside or after it.
#include "dht/store/store.hpp"
#include "tests/sim/disk.hpp"

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace skald::sim {

using item_id = std::tuple<dht::table, ring_key, std::string>;
using op_number = std::uint64_t; // never 0; later ones are higher

struct operation {
  enum class kind : std::uint8_t { put, remove };
  enum class state : std::uint8_t { pending, acknowledged, failed, unknown, undone };
  op_number number = 0;
  kind what = kind::put;
  state how = state::pending; // undone: the rule refused it, so it never shows
  mono_time issued{}, ended{}; // the world's time
  unix_ms grant_ms = 0;        // 0: for ever
  unix_ms expires = 0;         // cluster time, of an acknowledged one
  bool alone = false;          // acknowledged in a view of one or two
  bool lost = false;           // all who held it were lost: it need not be found
};

std::string value_of(op_number n);
op_number number_in(std::string_view value); // 0: not one of ours

class model {
public:
  op_number begin(const item_id& item, operation::kind what, unix_ms grant_ms, mono_time now);
  void end(op_number n, operation::state how, mono_time now, unix_ms expires = 0, bool alone = false);
  const operation* find(op_number n) const;

  // Who holds what; `drop` all of a machine before what is left on its disk is told again.
  void held(int machine, const dht::record& r);
  void drop(int machine) { held_.erase(machine); }
  // After a loss: what nobody holds any more counts as lost, if `excused` says that it may be.
  template <class F>
  std::vector<op_number> note_losses(F&& excused);

  // What is wrong with an answer that was asked for at `from` and given at `now`: empty if nothing.
  struct verdict {
    int invariant = 0;
    std::string what;
    explicit operator bool() const { return invariant != 0; }
  };
  verdict judge_read(dht::table t, const ring_key& key, const std::vector<dht::record>& found, unix_ms cluster_time, mono_time from) const;
  verdict judge_at_rest(dht::table t, const ring_key& key, const std::vector<dht::record>& found, unix_ms cluster_time, duration skew) const;

  std::vector<std::pair<dht::table, ring_key>> keys() const;
  std::size_t acknowledged() const { return acknowledged_; }
  std::size_t items() const { return items_.size(); }

private:
  struct held_record {
    op_number number = 0;
    bool removed = false;
    dht::version version;
  };
  using history = std::vector<operation>;
  const operation* last_acknowledged(const history& h, mono_time before) const;
  bool held_somewhere(const item_id& item, const operation& o) const;

  std::map<item_id, history> items_;
  std::map<op_number, item_id> where_;
  std::map<int, std::map<item_id, held_record>> held_;
  op_number next_ = 1;
  std::size_t acknowledged_ = 0;
};

template <class F>
std::vector<op_number> model::note_losses(F&& excused) {
  std::vector<op_number> out;
  for (auto& [item, h] : items_)
    for (auto o = h.rbegin(); o != h.rend(); ++o) { // the latest that is held somewhere stands for all before it
      if (o->how != operation::state::acknowledged || o->lost) continue;
      if (held_somewhere(item, *o) || !excused(*o)) break;
      o->lost = true;
      out.push_back(o->number);
    }
  return out;
}

} // namespace skald::sim
