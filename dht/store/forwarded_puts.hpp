#pragma once
// Writes without a rule from any node to whichever node owns the key, tried again when the owner changes or its link
// breaks: they may be executed twice, which changes nothing but versions. Cluster thread.
#include "dht/store/context.hpp"
#include "dht/store/messages.hpp"
#include "dht/store/owner_writes.hpp"

#include <functional>
#include <map>

namespace skald::dht {

// A put that was on its way for longer is not done: its sender has long gone on to the next owner.
inline constexpr milliseconds put_age_max{500};

class forwarded_puts {
public:
  forwarded_puts(store_context& c, owner_writes& writes) : c_(c), writes_(writes) {}

  void begin(table t, const ring_key& k, std::vector<change> changes, owner_writes::callback done);
  void on_put(const node_id& from, store_put q);
  void on_done(const node_id& from, store_put_done a);
  void on_view();
  void on_link_down(const node_id& peer);
  void tick();

  std::size_t size() const { return ops_.size(); }

private:
  struct operation {
    dht::table table{};
    ring_key key;
    std::vector<change> changes;
    owner_writes::callback done;
    timer_id deadline = timer_id::none;
    std::optional<node_id> at; // where it was sent; nullopt: nowhere yet
  };

  void attempt(std::uint64_t number);
  void result_of(std::uint64_t number, write_result r);
  void finish(std::uint64_t number, write_result r);

  store_context& c_;
  owner_writes& writes_;
  std::map<std::uint64_t, operation> ops_;
  bool retry_ = false;
};

} // namespace skald::dht
