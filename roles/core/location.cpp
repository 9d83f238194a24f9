#include "roles/core/location.hpp"

#include "base/metrics.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

metrics::counter unreadable("skald_location_unreadable_total", "Binding records that did not decode");

bool same_place(const binding& a, const binding& b) {
  return !a.instance.empty() && a.reg_id != 0 && a.instance == b.instance && a.reg_id == b.reg_id;
}

// Of two of one instant the order is the same on every node.
bool newer(const binding& a, const binding& b) {
  return a.updated != b.updated ? a.updated > b.updated : a.contact < b.contact;
}

} // namespace

std::vector<binding> bindings_of(std::span<const dht::record> records) {
  std::vector<binding> out;
  out.reserve(records.size());
  for (const dht::record& r : records) {
    auto b = decode_binding(r.value);
    if (!b) {
      unreadable.add();
      continue;
    }
    const auto twin = std::ranges::find_if(out, [&](const binding& o) { return same_place(o, *b); });
    if (twin == out.end())
      out.push_back(std::move(*b));
    else if (b->updated > twin->updated)
      *twin = std::move(*b);
  }
  std::ranges::sort(out, [](const binding& a, const binding& b) { return a.q != b.q ? a.q > b.q : newer(a, b); });
  return out;
}

std::vector<reach> group_by_instance(std::vector<binding> sorted) {
  std::vector<reach> out;
  for (binding& b : sorted) {
    const auto same = std::ranges::find_if(out, [&](const reach& r) {
      return b.reg_id != 0 && !b.instance.empty() && r.flows.front().reg_id != 0 && r.flows.front().instance == b.instance;
    });
    if (same == out.end())
      out.push_back({{std::move(b)}});
    else
      same->flows.push_back(std::move(b));
  }
  for (reach& r : out) {
    const std::uint16_t best = r.q(); // the place in the order was found by it
    std::ranges::sort(r.flows, newer);
    r.flows.front().q = best;
  }
  return out;
}

void lookup_records(worker_env& env, dht::table t, const ring_key& key,
                    std::move_only_function<void(dht::fetch_result)> done) {
  dht::store_api& store = env.cluster.store();
  if (store.answers_for(key)) return done({store.read(t, key), true});
  store.fetch(t, key, [&flows = env.flows, worker = env.worker, done = std::move(done)](dht::fetch_result got) mutable {
    flows.run_on(worker, [done = std::move(done), got = std::move(got)]() mutable { done(std::move(got)); });
  });
}

void lookup(worker_env& env, std::string_view aor, std::move_only_function<void(location_result)> done) {
  lookup_records(env, dht::table::bindings, dht::key_of_aor(aor),
                 [done = std::move(done)](dht::fetch_result got) mutable { done({bindings_of(got.records), got.firm}); });
}

void lookup_subscriber(worker_env& env, std::string_view aor, std::move_only_function<void(subscriber_result)> done) {
  lookup_records(env, dht::table::subscribers, dht::key_of_aor(aor),
                 [done = std::move(done)](dht::fetch_result got) mutable { done({subscriber_in(got.records), got.firm}); });
}

} // namespace skald::roles
