// The seams of the composition: the cluster's keys and settings, questions to all nodes, the control socket.
#include "base/clock.hpp"
#include "base/rng.hpp"
#include "base/scheduler.hpp"
#include "node/cluster/cluster_query.hpp"
#include "node/cluster/shared_state.hpp"
#include "node/control/control_server.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

using namespace skald;
using namespace skald::node;

namespace {

// Answers each fetch at once with what a test put there.
struct told_store final : dht::store_api {
  explicit told_store(const skald::clock& c) : time(c) {}
  std::vector<dht::record> read(dht::table, const ring_key&) const override { return {}; }
  bool answers_for(const ring_key&) const override { return false; }
  void write(dht::table, const ring_key&, dht::rule, std::move_only_function<void(dht::write_result)>) override {}
  void fetch(dht::table t, const ring_key&, std::move_only_function<void(dht::fetch_result)> done) override {
    done(t == dht::table::settings ? settings : keys);
  }
  void put(dht::table t, const ring_key& k, std::vector<dht::change> changes, std::move_only_function<void(dht::write_result)> done) override {
    for (const dht::change& c : changes) {
      dht::record r;
      r.table = t, r.key = k, r.item = c.item, r.value = c.value;
      keys.records.push_back(r);
      ++puts;
    }
    done({keys.records});
  }
  unix_ms cluster_time() const override { return time.wall(); }
  std::vector<dht::record> page(dht::table, std::string&, std::size_t) const override { return {}; }
  void set(const std::string& item, const std::string& value) {
    dht::record r;
    r.table = dht::table::settings, r.item = item, r.value = value;
    settings.records.push_back(r);
  }

  const skald::clock& time;
  dht::fetch_result keys, settings;
  int puts = 0;
};

struct shared_bench {
  manual_clock clock;
  scheduler timers;
  seeded_rng random{1};
  told_store store{clock};
  int changes = 0;
  shared_state state{clock, timers, random, store, "example.com", [this] { ++changes; }};
};

// Takes what is sent to other nodes, and sends nothing.
struct silent_links final : dht::link_port {
  bool send(const node_id& to, dht::frame f) override {
    sent.emplace_back(to, std::move(f));
    return true;
  }
  std::vector<std::pair<node_id, dht::frame>> sent;
};

node_id numbered_id(std::uint8_t n) {
  node_id id;
  id.bytes[0] = n;
  return id;
}

dht::view view_of_two() {
  dht::view v;
  v.self = numbered_id(1);
  for (std::uint8_t n : {1, 2}) {
    dht::member m;
    m.id = numbered_id(n);
    m.state = dht::member_state::active;
    m.body.name = "node" + std::to_string(n);
    v.members.push_back(m);
  }
  return v;
}

} // namespace

TEST_CASE("shared state: settings that are not there, and whose other holder is dead, are waited for some polls only") {
  shared_bench b;
  b.store.keys.firm = true;
  b.state.set_duty(true);
  b.state.poll(); // makes a key
  REQUIRE(b.store.puts == 1);
  CHECK_FALSE(b.state.loaded());
  for (unsigned i = 0; i < doubtful_polls_borne; ++i) b.state.poll();
  CHECK(b.state.loaded());
  b.store.keys.firm = false; // and keys are made all the same
  b.clock.advance(key_life_signing + seconds(1));
  for (unsigned i = 1; i < doubtful_polls_borne; ++i) b.state.poll();
  CHECK(b.store.puts == 1);
  b.state.poll();
  CHECK(b.store.puts == 2);
}

TEST_CASE("shared state: settings of a doubtful answer are good enough only while there are none") {
  shared_bench b;
  b.store.set("tls.example.com", "first");
  b.state.poll();
  CHECK(b.state.stored().at("tls.example.com") == "first");
  b.store.settings.firm = true;
  b.state.poll();
  b.store.settings = {};
  b.store.set("profile", "wan"); // an old copy, read while the owner is away
  b.state.poll();
  CHECK(b.state.stored().contains("tls.example.com"));
  CHECK_FALSE(b.state.stored().contains("profile"));
  b.store.settings.firm = true;
  b.state.poll();
  CHECK_FALSE(b.state.stored().contains("tls.example.com"));
  CHECK(b.state.stored().contains("profile"));
}

TEST_CASE("shared state: the owner of the keys makes one at once, one more a day, and nobody else makes any") {
  shared_bench b;
  b.store.keys.firm = b.store.settings.firm = true;
  b.state.poll();
  CHECK(b.store.puts == 0);
  CHECK_FALSE(b.state.loaded());
  b.state.set_duty(true);
  b.state.poll();
  CHECK(b.store.puts == 1);
  CHECK(b.state.loaded());
  b.clock.advance(std::chrono::hours(23));
  b.state.poll();
  CHECK(b.store.puts == 1);
  b.clock.advance(std::chrono::hours(2));
  b.state.poll();
  CHECK(b.store.puts == 2);
  b.store.keys.records.clear(); // an answer in doubt takes no key away
  b.store.keys.firm = false;
  b.state.poll();
  CHECK(b.state.keys()->keys().size() == 2);
}

TEST_CASE("shared state: a key that the cluster has lost is written back by who has it, with its time, while it counts (consistency.md §8)") {
  shared_bench b;
  b.store.keys.firm = b.store.settings.firm = true;
  b.state.set_duty(true);
  b.state.poll();
  REQUIRE(b.store.puts == 1); // the key itself
  const auto made = b.store.keys.records;
  b.state.set_duty(false);
  b.state.poll();
  CHECK(b.store.puts == 1);
  b.store.keys = {{}, false}; // in doubt: somebody may have it
  b.state.poll();
  CHECK(b.store.puts == 1);
  b.store.keys = {{}, true};
  b.state.poll();
  CHECK(b.store.puts == 2);
  CHECK(b.store.keys.records == made);
  b.state.poll();
  CHECK(b.store.puts == 2);
  b.store.keys = {{}, true};
  b.clock.advance(key_life_checking);
  b.state.poll();
  CHECK(b.store.puts == 2);
}

TEST_CASE("cluster query: rows that are no objects, and what is nested without end, are left out") {
  manual_clock clock;
  scheduler timers;
  silent_links links;
  cluster_query query(clock, timers, links, [](const std::string&, const std::string&, const std::string&) {
    return nlohmann::json{{"rows", nlohmann::json::array()}, {"next", ""}};
  });
  std::optional<cluster_query::total> got;
  query.ask(view_of_two(), "calls", "", [&](cluster_query::total t) { got = std::move(t); });
  REQUIRE(links.sent.size() == 1);
  const auto id = nlohmann::json::parse(links.sent[0].second.body)["id"].get<std::uint64_t>();
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  const std::string body = "{\"id\":" + std::to_string(id) + ",\"rows\":[1,\"two\",{\"name\":\"three\",\"x\":" + deep + "}]}";
  query.on_frame(numbered_id(2), {dht::frame_type::control_reply, 1, body});
  REQUIRE(got);
  CHECK(got->silent.empty());
  REQUIRE(got->rows.size() == 1);
  CHECK(got->rows[0]["name"] == "three");
  CHECK(got->rows[0].dump().size() < 200);
}

TEST_CASE("cluster query: this node's own rows come a page a turn, and nobody who is slow meanwhile is silent") {
  manual_clock clock;
  scheduler timers;
  silent_links links;
  int pages = 0;
  cluster_query query(clock, timers, links, [&](const std::string&, const std::string&, const std::string& cursor) {
    ++pages;
    const int at = cursor.empty() ? 0 : std::stoi(cursor);
    return nlohmann::json{{"rows", {{{"number", at}}}}, {"next", at == 2999 ? "" : std::to_string(at + 1)}};
  });
  std::optional<cluster_query::total> got;
  query.ask(view_of_two(), "calls", "", [&](cluster_query::total t) { got = std::move(t); });
  REQUIRE(links.sent.size() == 1);
  for (int turn = 1; turn < 3000; ++turn) {
    CHECK(pages == turn);
    clock.advance(milliseconds(1));
    timers.run_due(clock.now());
  }
  CHECK(pages == 3000);
  CHECK_FALSE(got); // the other one has two seconds from now on
  const auto id = nlohmann::json::parse(links.sent[0].second.body)["id"].get<std::uint64_t>();
  query.on_frame(numbered_id(2), {dht::frame_type::control_reply, 1, "{\"id\":" + std::to_string(id) + ",\"rows\":[{\"number\":-1}]}"});
  REQUIRE(got);
  CHECK(got->silent.empty());
  CHECK(got->rows.size() == 3001);
}

TEST_CASE("control socket: 0600; a stale one is replaced, but no other file and no socket that is answered") {
  char name[] = "/tmp/skald_control_XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  const std::string folder = name, path = folder + "/control.sock";
  const auto nothing = [](const control_request&) { return control_reply{404}; };
  {
    std::ofstream(path) << "precious";
    const auto refused = control_server::start(path, nullptr, nothing);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().what.find(path) != std::string::npos);
    CHECK(std::filesystem::file_size(path) == 8);
    std::filesystem::remove(path);
  }
  {
    const auto first = control_server::start(path, nullptr, nothing);
    REQUIRE(first);
    struct stat info{};
    REQUIRE(::lstat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK_FALSE(control_server::start(path, nullptr, nothing));
    std::filesystem::rename(path, path + ".kept"); // as after a crash: nobody listens once `first` is gone
  }
  std::filesystem::rename(path + ".kept", path);
  CHECK(control_server::start(path, nullptr, nothing));
  std::filesystem::remove_all(folder);
}
