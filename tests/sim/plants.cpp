#include "tests/sim/plants.hpp"

#include "dht/store/messages.hpp"
#include "tests/sim/cluster.hpp"
#include "tests/sim/process.hpp"
#include "tests/sim/sip_plants.hpp"

#include <algorithm>
#include <utility>

namespace skald::sim {
namespace {

constexpr std::pair<plant, const char*> names[] = {
    {plant::none, "none"},           {plant::early_ack, "early_ack"},     {plant::lost_tombstones, "lost_tombstones"},
    {plant::skipped_copies, "skipped_copies"}, {plant::firm_always, "firm_always"}, {plant::lost_duty, "lost_duty"},
    {plant::no_order, "no_order"},   {plant::growing_log, "growing_log"}, {plant::other_ring, "other_ring"},
    {plant::ghost_registrations, "ghost_registrations"}, {plant::deaf_dns, "deaf_dns"},   {plant::unknown_users, "unknown_users"},
    {plant::forgotten_names, "forgotten_names"},
    {plant::lost_answers, "lost_answers"}, {plant::two_answers, "two_answers"},         {plant::second_invites, "second_invites"},
    {plant::lost_cancels, "lost_cancels"}, {plant::two_publishers, "two_publishers"},
    {plant::two_farewells, "two_farewells"}};

class perverted_links final : public dht::link_port {
public:
  perverted_links(cluster& home, process& p, dht::link_port& real) : home_(home), process_(p), real_(real) {}

  bool send(const node_id& to, dht::frame f) override {
    if (f.type == dht::frame_type::store_write) {
      const bool early = home_.opts.bug == plant::early_ack;
      const bool skipped = home_.opts.bug == plant::skipped_copies && ++writes_ % 8 == 0;
      if (early || skipped) acknowledge(to, f);
      if (early) { // it does go, some seconds too late
        home_.time.after(seconds(5), [home = &home_, at = process_.on().spec.number, to, f = std::move(f)]() mutable {
          if (home->at(at).running()) home->at(at).proc().raw_send(to, std::move(f));
        });
        return true;
      }
      if (skipped) return true;
    }
    if (home_.opts.bug == plant::lost_tombstones) {
      if (f.type == dht::frame_type::store_copy) f = without_removals<dht::store_copy>(f);
      if (f.type == dht::frame_type::store_records) f = without_removals<dht::store_records>(f);
    }
    return real_.send(to, std::move(f));
  }

private:
  template <class Message>
  static dht::frame without_removals(const dht::frame& f) {
    auto m = Message::decode(f);
    std::erase_if(m->records, [](const dht::record& r) { return r.removed; });
    return m->encode();
  }

  void acknowledge(const node_id& as, const dht::frame& f) {
    const auto w = dht::store_write::decode(f);
    dht::store_ack a;
    for (const auto& e : w->entries) a.entries.emplace_back(e.number, dht::store_ack::status::held);
    process_.post([p = &process_, as, frame = a.encode()] { p->whole_store().on_frame(as, frame); });
  }

  cluster& home_;
  process& process_;
  dht::link_port& real_;
  std::uint64_t writes_ = 0;
};

class perverted_store final : public dht::store_api {
public:
  explicit perverted_store(dht::store& real) : real_(real) {}
  std::vector<dht::record> read(dht::table t, const ring_key& k) const override { return real_.read(t, k); }
  bool answers_for(const ring_key&) const override { return true; }
  void write(dht::table t, const ring_key& k, dht::rule r, std::move_only_function<void(dht::write_result)> done) override {
    real_.write(t, k, std::move(r), std::move(done));
  }
  void fetch(dht::table t, const ring_key& k, std::move_only_function<void(dht::fetch_result)> done) override {
    done({real_.read(t, k), true});
  }
  void put(dht::table t, const ring_key& k, std::vector<dht::change> c, std::move_only_function<void(dht::write_result)> done) override {
    real_.put(t, k, std::move(c), std::move(done));
  }
  std::vector<dht::record> page(dht::table t, std::string& cursor, std::size_t limit) const override { return real_.page(t, cursor, limit); }
  unix_ms cluster_time() const override { return real_.cluster_time(); }

private:
  dht::store& real_;
};

} // namespace

const char* name(plant p) {
  for (const auto& [each, text] : names)
    if (each == p) return text;
  return "";
}

std::optional<plant> plant_from(std::string_view text) {
  for (const auto& [each, known] : names)
    if (text == known) return each;
  return std::nullopt;
}

std::unique_ptr<dht::link_port> plant_links(cluster& home, process& p, link_hub& real) {
  const plant b = home.opts.bug;
  if (b != plant::early_ack && b != plant::skipped_copies && b != plant::lost_tombstones) return nullptr;
  return std::make_unique<perverted_links>(home, p, real);
}

std::unique_ptr<dht::store_api> plant_store(cluster& home, process&, dht::store& real) {
  if (home.opts.bug != plant::firm_always) return plant_sip_store(home.opts.bug, real);
  return std::make_unique<perverted_store>(real);
}

} // namespace skald::sim
